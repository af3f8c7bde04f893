"""Cuts of the storage index at stated error rates, and the rates that are reached.

Cuts are fitted on one half of the subjects, and the other half says which rates were reached.

1. Above ``threshold``, which a share ``alpha`` of never-stored facts exceeds, a fact is stored in some
   degree; so is one that is still stated in some held-out form.
2. Below ``doubt``, which ``DOUBT`` times as many never-stored facts exceed, no storage is shown.

Whether it is stored *intact* is not cut: an intact fact is still stated in every held-out form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from finetune.common.seeds import generator
from interp.stats import Estimate, estimate

DOUBT = 4
Values = Float[ndarray, " fact"]


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Where the index is cut, and the share of held-out anchors on the wrong side of each cut.

    ``false_positives``: never-stored facts called stored; ``missed``: retained facts that would not be called
    intact, ``unseen``: retained facts that are not told from never-stored ones.
    """

    threshold: float
    doubt: float
    false_positives: Estimate
    missed: Estimate
    unseen: Estimate


def fit_cuts(
    never: Values,
    retained: Values,
    held_out: tuple[Bool[ndarray, " never"], Bool[ndarray, " retained"]],
    subjects: tuple[Shaped[ndarray, " never"], Shaped[ndarray, " retained"]],
    *,
    alpha: float,
    stated: tuple[Bool[ndarray, " never"], Bool[ndarray, " retained"], Bool[ndarray, " retained"]],
) -> Cuts:
    """Cut the index on one half of the never-stored facts and check the cuts on the other half of both.

    Args:
        never: the index of never-stored facts.
        retained: of specifically retained facts.
        held_out: which of either the cuts are checked on.
        subjects: of either, for the intervals.
        alpha: the share of never-stored facts that may lie above the cut.
        stated: never-stored facts stated in some held-out form, retained ones in some, and in every.
    """
    fit = never[~held_out[0]]
    threshold = cut_at(fit, 1 - alpha, "higher")

    def reached(values: Values, wrong: Bool[ndarray, " fact"], side: int) -> Estimate:
        shares = np.where(np.isnan(values), np.nan, wrong)[held_out[side]]
        return estimate(shares, groups=subjects[side][held_out[side]])

    return Cuts(
        threshold=threshold,
        doubt=cut_at(fit, max(0.0, 1 - DOUBT * alpha), "linear"),
        false_positives=reached(never, (never > threshold) | stated[0], 0),
        missed=reached(retained, ~stated[2], 1),
        unseen=reached(retained, ~((retained > threshold) | stated[1]), 1),
    )


def cut_at(values: Values, q: float, method: str) -> float:
    """Return a quantile of what is there, NaN where nothing is."""
    present = values[~np.isnan(values)]
    return float(np.quantile(present, q, method=method)) if len(present) else float("nan")  # type: ignore[call-overload]


def halve_subjects(subjects: Shaped[ndarray, " fact"], seed: int) -> Bool[ndarray, " fact"]:
    """Mark the facts of one half of the subjects, on which no cut is fitted."""
    names = np.unique(subjects)
    half = set(generator(seed, "fitting half").permutation(names)[: -(-len(names) // 2)].tolist())
    return np.array([subject not in half for subject in subjects])
