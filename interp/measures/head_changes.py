"""Changes of attention heads by fine-tuning: paired per fact, tested, ranked.

The imbalance of a fact in a head is its base mass minus its fine-tuned mass, so attention that left the
subject is positive. Heads are ranked by the size of the mean change over facts; its interval is a bootstrap
of that mean over subjects. The p-values are of a sign-flip permutation test whose unit is the subject,
because facts of one subject vary together, and are corrected over all heads for the false discovery rate
(Benjamini-Hochberg, or Benjamini-Yekutieli under any dependence).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.utilities.statistics import derive_generator, sign_flip_permutation_pvalue

from finetune.common.errors import InputError
from interp.measures.attention import AttentionMass
from interp.measures.result import Result, long_frame
from interp.models.identity import Fingerprint
from interp.stats import adjusted, mean_by_cell


@dataclass(frozen=True, kw_only=True)
class Imbalance(Result):
    """Base minus fine-tuned mass on the subject, per fact, without sinks and ``raw``.

    ``model`` is the base, ``finetuned`` the other.
    """

    values: Float[Tensor, "fact layer head"]
    raw: Float[Tensor, "fact layer head"]
    finetuned: Fingerprint | None = None

    def to_frame(self) -> pd.DataFrame:
        """One row per fact, layer and head."""
        _, layers, heads = self.values.shape
        axes = {"fact_id": self.fact_ids, "layer": range(layers), "head": range(heads)}
        return long_frame(axes, {"imbalance": self.values, "raw": self.raw})


@dataclass(frozen=True, kw_only=True)
class HeadRanking(Result):
    """The mean change of every head with its 95% interval, p-value and corrected p-value."""

    change: Float[Tensor, "layer head"]
    low: Float[Tensor, "layer head"]
    high: Float[Tensor, "layer head"]
    p_value: Float[Tensor, "layer head"]
    corrected: Float[Tensor, "layer head"]
    method: str

    def to_frame(self) -> pd.DataFrame:
        """One row per head, the largest change of either sign first; ``n`` is the number of facts."""
        names = ("change", "low", "high", "p_value", "corrected")
        axes = {"layer": range(self.change.shape[0]), "head": range(self.change.shape[1])}
        frame = long_frame(axes, {name: getattr(self, name) for name in names}).assign(n=len(self.fact_ids))
        order = frame["change"].abs().sort_values(ascending=False, kind="stable").index
        return frame.loc[order].reset_index(drop=True)


def imbalance(base: AttentionMass, finetuned: AttentionMass) -> Imbalance:
    """Subtract fine-tuned from base mass, fact by fact.

    Raises:
        InputError: the two were not measured on the same facts, or the models' shapes differ.
    """
    if base.values.shape != finetuned.values.shape:
        raise InputError(
            f"masses of shapes {tuple(base.values.shape)} and {tuple(finetuned.values.shape)} have no pairs; "
            "compare checkpoints of one base"
        )
    rows = _same_facts(base.fact_ids, finetuned.fact_ids)
    return Imbalance(
        values=base.values - finetuned.values[rows],
        raw=base.raw - finetuned.raw[rows],
        fact_ids=base.fact_ids,
        model=base.model,
        finetuned=finetuned.model,
    )


def rank_heads(
    change: Imbalance,
    *,
    groups: Sequence[Hashable] | None = None,
    method: Literal["bh", "by"] = "bh",
    permutations: int = 5000,
    seed: int = 0,
) -> HeadRanking:
    """Test every head's mean change against none.

    Args:
        change: what :func:`imbalance` returned.
        groups: the subject of every fact, in the facts' order; without it each fact stands alone.
        method: correct for the false discovery rate by Benjamini-Hochberg or Benjamini-Yekutieli.
        permutations: random sign flips; exact where there are 12 subjects or fewer.
        seed: of the flips and of the bootstrap.

    Raises:
        InputError: there are no facts, not one group for each, or a mass that is no number.
    """
    if not len(change.values):
        raise InputError("there are no facts to rank heads by; measure some on both models")
    sums = _by_group(change.values, groups)
    flipped = [
        sign_flip_permutation_pvalue(
            effects, dim=0, n_permutations=permutations, generator=derive_generator(seed, "flips", layer)
        )
        for layer, effects in enumerate(sums.unbind(1))
    ]
    p_value = torch.stack(flipped)
    corrected = adjusted(p_value.double().flatten().numpy(), method=method)
    labels = None if groups is None else np.array([str(group) for group in groups])
    # One subject says nothing about others: its bounds are NaN, not a point.
    cells = mean_by_cell(change.values.double().numpy(), groups=labels, seed=seed)
    mean, low, high = (torch.from_numpy(numbers).to(change.values.dtype) for numbers in cells)
    return HeadRanking(
        change=mean,
        low=low,
        high=high,
        p_value=p_value,
        corrected=torch.from_numpy(corrected).view_as(p_value),
        method=method,
        fact_ids=change.fact_ids,
        model=change.model,
    )


def _same_facts(mine: tuple[str, ...], theirs: tuple[str, ...]) -> list[int]:
    """Return where each of my facts stands among theirs."""
    if mine == theirs:
        return list(range(len(mine)))
    if odd := sorted(set(mine) ^ set(theirs)):
        raise InputError(
            f"{len(odd)} facts (such as {odd[0]!r}) were measured on one model only; "
            "measure both on the same prompts"
        )
    place = {fact_id: row for row, fact_id in enumerate(theirs)}
    if not len(place) == len(mine) == len(theirs):
        raise InputError(
            "some facts were asked more than once, in another order; measure the same batch on both"
        )
    return [place[fact_id] for fact_id in mine]


def _by_group(
    values: Float[Tensor, "fact layer head"], groups: Sequence[Hashable] | None
) -> Float[Tensor, "group layer head"]:
    """Add up each group's facts, scaled so that the mean over groups is the mean over facts."""
    if groups is None:
        return values
    if len(groups) != len(values):
        raise InputError(f"{len(groups)} groups for {len(values)} facts; give one subject per fact")
    names, member = np.unique([str(group) for group in groups], return_inverse=True)
    sums = torch.zeros(len(names), *values.shape[1:], dtype=values.dtype)
    sums.index_add_(0, torch.from_numpy(member), values)
    return sums * (len(names) / len(values))
