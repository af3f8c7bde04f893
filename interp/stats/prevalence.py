"""Precision at a stated prevalence: what share of the cases called positive would be, were so many positive.

Precision depends on how many positives there are, which a benchmark chooses. With recall r among positives
and false-positive rate f among negatives, it is p r / (p r + (1 - p) f) at prevalence p.
"""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from finetune.common.errors import InputError
from interp.stats.bootstrap import Bounds, Statistic, of_rows
from interp.stats.means import estimate
from interp.stats.result import Estimate

Rate = TypeVar("Rate", float, Float[ndarray, " draw"])
BOTH = 0.975  # of each rate, so that both intervals hold the truth in 95% of cases (Bonferroni)


def precision_at(
    called: Float[ndarray, " row"],
    positive: Bool[ndarray, " row"],
    prevalence: float,
    *,
    groups: Shaped[ndarray, " row"] | None = None,
) -> Estimate:
    """Estimate precision at a prevalence; None where nothing is called positive, or one kind is missing.

    The interval is a bootstrap over ``groups``. Where recall or the false-positive rate is 0 or 1, which no
    draw changes, it is made of the two rates' own intervals, for precision rises with the one and falls with
    the other; a rate of 0 or 1 has the exact interval of Clopper and Pearson.

    Args:
        called: whether each case is called positive, 1 or 0; NaN leaves it out.
        positive: whether it is.
        prevalence: the share of positives that is assumed.
        groups: the subject of each case, for the interval.

    Raises:
        InputError: a prevalence of 0 or less, or 1 or more; columns of different lengths.
    """
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence = {prevalence}: give the share of positives, above 0 and below 1")

    def statistic(called: Float[ndarray, " row"], positive: Bool[ndarray, " row"]) -> Statistic:
        def precision(weights: Float[ndarray, "draw row"]) -> Float[ndarray, " draw"]:
            with np.errstate(invalid="ignore", divide="ignore"):
                recall, false = (
                    (weights @ (called * kind)) / (weights @ kind.astype(np.float64))
                    for kind in (positive, ~positive)
                )
                return _precision(recall, false, prevalence)

        return precision

    def value(called: Float[ndarray, " row"], positive: Bool[ndarray, " row"]) -> float:
        return float(statistic(called, positive)(np.ones((1, len(called))))[0])

    columns = [np.asarray(called, np.float64), np.asarray(positive, bool)]
    return of_rows(statistic, value, columns, groups, exact=partial(_of_rates, prevalence))


def _precision(recall: Rate, false: Rate, prevalence: float) -> Rate:
    return prevalence * recall / (prevalence * recall + (1 - prevalence) * false)


def _of_rates(
    prevalence: float,
    groups: Shaped[ndarray, " row"],
    precision: float,
    called: Float[ndarray, " row"],
    positive: Bool[ndarray, " row"],
) -> Bounds | None:
    """Return the bounds that those of the two rates give, where one of the rates is 0 or 1; else None."""
    recall, false = (
        estimate(called[kind], groups=groups[kind], confidence=BOTH) for kind in (positive, ~positive)
    )
    if not {recall.value, false.value} & {0.0, 1.0}:
        return None
    if recall.low is None or recall.high is None or false.low is None or false.high is None:
        return None, None
    return _precision(recall.low, false.high, prevalence), _precision(recall.high, false.low, prevalence)
