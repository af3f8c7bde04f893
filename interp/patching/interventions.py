"""Interventions as data: where to edit, what to put there, and for which facts.

    cut = Intervention(site="pattern", do=Knockout(), at="last", keys="subject", layers=(3,), heads=(1,))
    other = Intervention(site="pattern", do=Replace(source=record(base, batch, "pattern")))

A *cell* is one experiment: an intervention, or several that act together, in their order. A knock-out takes
keys out of attention rows and renormalises them, as scores of minus infinity would; a scaling of a pattern
multiplies the attention to the keys and renormalises the row. Everything else is written as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real

import torch
from jaxtyping import Bool
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from finetune.common.short_repr import ShortRepr
from interp.measures.attention import indices
from interp.measures.spans import PromptBatch
from interp.patching.positions import Role
from interp.patching.positions import keys as role_keys
from interp.patching.positions import positions as role_positions
from interp.patching.recording import Recording, Site

GROUPED: tuple[Site, ...] = ("k", "v")  # sites with a head for every key-value group
HEADLESS: tuple[Site, ...] = ("residual", "mlp")


@dataclass(frozen=True, kw_only=True)
class Replace(ShortRepr):
    """Put in what was recorded: of the same fact, or of the one that ``facts`` maps it to."""

    source: Recording
    facts: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Mean(ShortRepr):
    """Put in the mean over all that was recorded; not for attention, whose rows differ in length."""

    source: Recording


@dataclass(frozen=True)
class Zero:
    """Put in zeros."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Multiply; a pattern's row is renormalised."""

    by: float

    def __post_init__(self) -> None:
        if not isinstance(self.by, Real) or not isfinite(self.by):
            raise InputError(f"Scale(by={self.by!r}): give a finite number")


@dataclass(frozen=True)
class Knockout:
    """Take the keys out of an attention row and renormalise it."""


Action = Replace | Mean | Zero | Scale | Knockout


@dataclass(frozen=True, kw_only=True)
class Intervention(ShortRepr):
    """One edit.

    ``at`` are the positions edited: for ``pattern`` and ``scores`` the queries, whose ``keys`` are edited
    (all without it). ``layers`` and ``heads`` are all without a choice; for ``k`` and ``v`` heads are the
    key-value heads, each of which serves a group of query heads. ``facts`` limits it to some facts.
    """

    site: Site
    do: Action
    at: Role = "last"
    keys: Role | None = None
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    facts: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.do, Action):
            raise InputError(
                f"do = {self.do!r:.40}: give Knockout(), Zero(), Scale(by=...), Replace(source=...) or "
                "Mean(source=...)"
            )
        if isinstance(self.facts, str):
            raise InputError(f"facts = {self.facts!r}: give a set of fact ids, as in frozenset({{'q1'}})")
        if self.facts is not None:
            object.__setattr__(self, "facts", frozenset(self.facts))


Edits = Intervention | Sequence[Intervention]


def interventions_of(cell: Edits) -> tuple[Intervention, ...]:
    """Return the interventions of a cell.

    Raises:
        InputError: it holds something else.
    """
    items = tuple(cell) if isinstance(cell, list | tuple) else (cell,)
    if odd := [item for item in items if not isinstance(item, Intervention)]:
        raise InputError(
            f"cell {odd[0]!r:.40}: is no Intervention; give Intervention(site=..., do=...), or several"
        )
    return items


def layers_of(model: TransformerBridge, item: Intervention) -> tuple[int, ...]:
    """Return the layers that an intervention edits.

    Raises:
        InputError: one that the model has not.
    """
    return indices("layers", item.layers, model.cfg.n_layers)


def heads_of(model: TransformerBridge, item: Intervention) -> tuple[int, ...]:
    """Return the heads that an intervention edits; none for a site without heads.

    Raises:
        InputError: one that the model has not.
    """
    if item.site in HEADLESS:
        if item.heads is not None:
            raise InputError(
                f"heads = {list(item.heads)}: the site {item.site!r} has no heads; leave them out"
            )
        return ()
    if item.site in GROUPED:
        count = getattr(model.cfg, "n_key_value_heads", None) or model.cfg.n_heads
        return indices(f"heads of {item.site} (key-value heads)", item.heads, count)
    return indices("heads", item.heads, model.cfg.n_heads)


def facts_mask(item: Intervention, batch: PromptBatch) -> Bool[Tensor, " fact"]:
    """Tell which facts an intervention is meant for."""
    if item.facts is None:
        return torch.ones(len(batch), dtype=torch.bool)
    return torch.tensor([fact_id in item.facts for fact_id in batch.fact_ids])


def edits(item: Intervention, batch: PromptBatch) -> Bool[Tensor, "fact pos"]:
    """Mark the positions that an intervention edits; none in a prompt without a token for its keys."""
    mask = role_positions(batch, item.at) & facts_mask(item, batch)[:, None]
    if item.keys is not None:
        mask = mask & role_keys(batch, item.keys).any(1, keepdim=True)
    return mask
