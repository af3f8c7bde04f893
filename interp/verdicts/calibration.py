"""Thresholds from controls at a stated false-positive rate, fitted on one half and checked on the other.

1. Each kind of evidence becomes a tail share: how many control facts of the fitting half have as much of it.
2. A fact's strength is -ln of the harmonic mean of its shares over the kinds that it has (Wilson, "The
   harmonic mean p-value for combining dependent tests", 2019): one kind that few controls reach is enough,
   for each may be blind to some way of suppressing, and kinds that say the same do not count twice.
3. The threshold is the strength that a stated share of the fitting half's controls exceeds, each of them
   ranked among the others. A laxer one, exceeded by ``DOUBT`` times that share, bounds what is in doubt.
4. The share of the other half's controls above it is the false-positive rate that was reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from finetune.common.seeds import generator
from interp.stats import Estimate, estimate

Values = Float[ndarray, "fact kind"]
DOUBT = 4


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Controls of the fitting half, the strengths they reach, and how it held on the other half.

    A share ``alpha`` of the controls lies above ``threshold``, and ``DOUBT`` times as many above ``doubt``.
    """

    alpha: float
    controls: Values
    threshold: float
    doubt: float
    false_positives: Estimate

    def strength(self, evidence: Values) -> Float[ndarray, " fact"]:
        """Return how far a fact's evidence exceeds that of controls; NaN for a fact without any."""
        return strength(evidence, self.controls)


def calibrate(
    controls: Values, fitting: Bool[ndarray, " fact"], *, alpha: float, groups: ndarray | None = None
) -> Calibration:
    """Fit the threshold on the controls of one half and check it on the others.

    Args:
        controls: evidence of facts that are not stored.
        fitting: which of them to fit on.
        alpha: the share of controls allowed above the threshold.
        groups: the subject of each control, for the interval.
    """
    fit = controls[fitting]
    reached = leave_one_out(fit)
    threshold = float(np.nanquantile(reached, 1 - alpha, method="higher"))
    checked = strength(controls[~fitting], fit)
    above = np.where(np.isnan(checked), np.nan, checked > threshold)
    return Calibration(
        alpha=alpha,
        controls=fit,
        threshold=threshold,
        doubt=float(np.nanquantile(reached, max(0.0, 1 - DOUBT * alpha))),
        false_positives=estimate(above, groups=None if groups is None else groups[~fitting]),
    )


def strength(evidence: Values, controls: Values) -> Float[ndarray, " fact"]:
    """Combine the tail shares, among controls, of the kinds of evidence that a fact has."""
    return _combine_shares([_tail(e, c) for e, c in zip(evidence.T, controls.T, strict=True)])


def leave_one_out(controls: Values) -> Float[ndarray, " fact"]:
    """Return each control's strength among all, itself included, as a fact's is among controls and itself."""
    shares = []
    for column in controls.T:
        present = np.sort(column[~np.isnan(column)])
        as_much = len(present) - np.searchsorted(present, column, side="left")
        shares.append(np.where(np.isnan(column), np.nan, as_much / max(1, len(present))))
    return _combine_shares(shares)


def _tail(values: Float[ndarray, " fact"], controls: Float[ndarray, " fact"]) -> Float[ndarray, " fact"]:
    present = np.sort(controls[~np.isnan(controls)])
    as_much = len(present) - np.searchsorted(present, values, side="left")
    return np.where(np.isnan(values) | (len(present) == 0), np.nan, (1 + as_much) / (1 + len(present)))


def _combine_shares(shares: Sequence[Float[ndarray, " fact"]]) -> Float[ndarray, " fact"]:
    inverse = 1 / np.stack(shares, axis=1)
    count = (~np.isnan(inverse)).sum(1)
    mean = np.nansum(inverse, axis=1) / np.maximum(1, count)
    return np.where(count > 0, np.log(np.maximum(mean, 1.0)), np.nan)


def halve_subjects(subjects: ndarray, seed: int) -> Bool[ndarray, " fact"]:
    """Mark the facts of one half of the subjects, on which no threshold is fitted."""
    names = np.unique(subjects)
    half = set(generator(seed, "fitting half").permutation(names)[: -(-len(names) // 2)].tolist())
    return np.array([subject not in half for subject in subjects])


def evidence_table(values: Mapping[str, Tensor], kinds: Sequence[str]) -> Float[ndarray, "fact kind"]:
    """Stack kinds of evidence as columns."""
    return np.stack([values[kind].double().numpy() for kind in kinds], axis=1)
