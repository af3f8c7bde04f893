"""Precision at a stated prevalence: what share of the cases called positive would be, were so many positive.

Precision depends on how many positives there are, which a benchmark chooses. With recall r among positives
and false-positive rate f among negatives, it is p r / (p r + (1 - p) f) at prevalence p.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from interp.stats.bootstrap import Statistic, of_rows
from interp.stats.result import Estimate


def precision_at(
    called: Float[ndarray, " row"],
    positive: Bool[ndarray, " row"],
    prevalence: float,
    *,
    groups: Shaped[ndarray, " row"] | None = None,
) -> Estimate:
    """Estimate precision at a prevalence; None where nothing is called positive, or one kind is missing.

    Args:
        called: whether each case is called positive, 1 or 0; NaN leaves it out.
        positive: whether it is.
        prevalence: the share of positives that is assumed.
        groups: the subject of each case, for the interval.
    """

    def statistic(called: Float[ndarray, " row"], positive: Bool[ndarray, " row"]) -> Statistic:
        def precision(weights: Float[ndarray, "draw row"]) -> Float[ndarray, " draw"]:
            with np.errstate(invalid="ignore", divide="ignore"):
                recall, false = (
                    (weights @ (called * kind)) / (weights @ kind.astype(np.float64))
                    for kind in (positive, ~positive)
                )
                return prevalence * recall / (prevalence * recall + (1 - prevalence) * false)

        return precision

    def value(called: Float[ndarray, " row"], positive: Bool[ndarray, " row"]) -> float:
        return float(statistic(called, positive)(np.ones((1, len(called))))[0])

    return of_rows(statistic, value, [np.asarray(called, np.float64), np.asarray(positive, bool)], groups)
