"""Interventions as data: where to edit, what to put there, and for which facts.

    cut = Intervention(site="pattern", do=Knockout(), at="last", keys="subject", layers=(3,), heads=(1,))
    other = Intervention(site="pattern", do=Replace(source=record(base, batch, "pattern")))

A *cell* is one experiment: an intervention, or several that act together, in their order. A knock-out takes
keys out of attention rows and renormalises them, as scores of minus infinity would; a scaling of a pattern
multiplies the attention to the keys and renormalises the row. Everything else is written as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.functional import pad
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from finetune.common.short_repr import ShortRepr
from interp.measures.attention import indices
from interp.measures.spans import PromptBatch
from interp.patching.positions import Role, slots
from interp.patching.positions import keys as role_keys
from interp.patching.positions import positions as role_positions
from interp.patching.recording import ATTENTION, Recording, Site, require_site

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


def require_intervention(
    model: TransformerBridge, batch: PromptBatch, item: Intervention, *, positions: bool = True
) -> None:
    """Refuse an intervention that cannot be made on this model and, with ``positions``, these prompts.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        item: the intervention.
        positions: whether the prompts are checked, too.

    Raises:
        InputError: a site, layer or head that the model has not; an action that does not go with the site;
            a source of other layers, roles, lengths or positions, or a knock-out of all keys that a position
            sees (names the fact).
    """
    layers, heads = layers_of(model, item), heads_of(model, item)
    require_site(model, item.site, layers)
    attention = item.site in ATTENTION
    if item.keys is not None and not attention:
        raise InputError(
            f"keys = {item.keys!r}: only pattern and scores have keys, not {item.site!r}; leave keys out"
        )
    if isinstance(item.do, Knockout) and not attention:
        raise InputError(f"Knockout of {item.site!r}: only pattern and scores can lose keys; use Zero()")
    if isinstance(item.do, Mean) and attention:
        raise InputError(f"Mean of {item.site!r}: rows of different prompts have no mean; use Replace")
    if isinstance(item.do, Replace | Mean):
        _require_source(item, item.do, layers, heads)
    if isinstance(item.do, Replace) and positions:
        _require_positions(item, item.do, batch)
    if isinstance(item.do, Knockout) and positions:
        _require_keys_left(item, batch)


def _require_keys_left(item: Intervention, batch: PromptBatch) -> None:
    """Refuse a knock-out of all that a query sees: its scores would give a uniform row, its pattern none."""
    left = batch.attention_mask.bool() & ~role_keys(batch, item.keys or "all")
    if (odd := edits(item, batch) & ~left.cumsum(1).bool()).any():
        fact, position = odd.nonzero()[0].tolist()
        raise InputError(
            f"fact {batch.fact_ids[fact]!r}: Knockout of keys = {item.keys!r} leaves position {position} "
            "nothing to attend to; choose keys that leave it some, or Zero() of the pattern"
        )


def _require_source(
    item: Intervention, do: Replace | Mean, layers: tuple[int, ...], heads: tuple[int, ...]
) -> None:
    source = do.source
    if source.site != item.site:
        raise InputError(f"a recording of {source.site!r} cannot replace {item.site!r}; record that site")
    if isinstance(do, Replace) and source.at != item.at:
        raise InputError(f"recorded at {source.at!r}, to be put at {item.at!r}; record it there")
    if isinstance(do, Replace) and item.keys is not None:
        raise InputError(f"keys = {item.keys!r}: a row is replaced as a whole; leave keys out")
    if missing := sorted(set(layers) - set(source.layers)):
        raise InputError(f"layers {missing} were not recorded; record them, or choose from {source.layers}")
    if heads and max(heads) >= source.values.shape[3]:
        raise InputError(
            f"the recording has {source.values.shape[3]} heads; it is of a model of another shape"
        )


def _require_positions(item: Intervention, do: Replace, batch: PromptBatch) -> None:
    """Compare the places to edit with those that were recorded, of all facts at once."""
    rows = facts_mask(item, batch).nonzero().flatten()
    ids = batch.fact_ids
    wanted = [ids[row] for row in rows.tolist()]
    donors = [(do.facts or {}).get(fact_id, fact_id) for fact_id in wanted]
    source = do.source.rows(donors)
    here, there = slots(role_positions(batch, item.at))[rows], do.source.places[source]
    width = max(here.shape[1], there.shape[1])
    here, there = (pad(part, (0, width - part.shape[1]), value=-1) for part in (here, there))

    def refuse(odd: Bool[Tensor, " fact"], problem: Callable[[int], str]) -> None:
        if odd.any():
            k = int(odd.nonzero()[0])
            name = f"fact {wanted[k]!r}" + (f" from {donors[k]!r}" if donors[k] != wanted[k] else "")
            raise InputError(f"{name}: {problem(k)}")

    refuse(
        ((here >= 0).sum(1) != (there >= 0).sum(1)),
        lambda k: (
            f"{int((here[k] >= 0).sum())} positions are {item.at!r} and {int((there[k] >= 0).sum())} were "
            "recorded; use a source whose subject and wording have as many tokens"
        ),
    )
    if item.site not in ATTENTION:
        return
    lengths, theirs = batch.last[rows] + 1, do.source.lengths[source]
    refuse(
        lengths != theirs,
        lambda k: (
            f"its prompt has {int(lengths[k])} tokens and the source's {int(theirs[k])}, so the keys of a "
            "row would be others; use a source of the same layout"
        ),
    )
    refuse(
        (here != there).any(1),
        lambda k: (
            f"position {int(here[k][here[k] != there[k]][0])} is {item.at!r} here, and not in the source"
        ),
    )
