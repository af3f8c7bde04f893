"""Benjamini-Hochberg correction of many p-values, and equivalence within a stated margin (TOST).

An interval that leaves out zero decides one claim; of many such claims one in twenty does so by chance. And
an interval that holds zero shows no equality: that takes a margin, stated beforehand, around the whole of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import false_discovery_control, t

from finetune.common.errors import InputError
from interp.stats.result import Estimate
from interp.stats.seeds import observed_values, standard_error
from interp.stats.student import is_constant

Method = Literal["bh", "by", "holm"]


def adjusted(
    p_values: Float[ndarray, " claim"] | Sequence[float],
    *,
    method: Method = "bh",
) -> Float[ndarray, " claim"]:
    """Correct p-values for the false discovery rate, by Benjamini-Hochberg or Benjamini-Yekutieli.

    Claims whose corrected p-value is at most 0.05 are false in 5% of cases on average; by Holm's method none
    of them is false in 95% of cases. NaN stays NaN and does not count as a claim.

    Raises:
        InputError: a number is no probability, or there is no such method.
    """
    if method not in get_args(Method):
        raise InputError(f"method = {method!r}: choose one of {', '.join(get_args(Method))}")
    p = np.asarray(p_values, dtype=np.float64)
    there = ~np.isnan(p)
    if ((p[there] < 0) | (p[there] > 1)).any():
        raise InputError("p-values must lie between 0 and 1; give probabilities, not percentages")
    corrected = np.full_like(p, np.nan)
    if there.any() and method != "holm":
        corrected[there] = false_discovery_control(p[there], method=method)
    elif there.any():
        order = np.argsort(p[there])
        steps = np.maximum.accumulate(p[there][order] * np.arange(len(order), 0, -1)).clip(max=1)
        corrected[there] = steps[np.argsort(order)]
    return corrected


def p_value(seeds: Sequence[Estimate], *, null: float = 0.0, overlap: float = 0.0) -> float:
    """Return the two-sided p-value of Student's t over trainings; NaN of fewer than two, or of equal ones.

    It is at most 0.05 just where the plain 95% interval of :func:`over_seeds` leaves ``null`` out.

    Args:
        seeds: a number a training.
        null: what the mean would be if there were no effect.
        overlap: see :func:`interp.stats.over_seeds`.
    """
    return 2 * min(_tails(seeds, null, overlap))


def interval_p_value(number: Estimate, *, null: float = 0.0, trainings: int | None = None) -> float:
    """Return the two-sided p-value at which a number's interval would just touch ``null``; NaN without one.

    It is at most 0.05 just where the 95% interval leaves ``null`` out: the half of the interval on the side
    of ``null`` is taken for that many standard errors of Student's t, or of a normal distribution. A half
    without width says nothing of them, and there is no p-value.

    Args:
        number: a number with its 95% interval.
        null: what it would be if there were no effect.
        trainings: how many the interval is over; None where it is over facts.
    """
    if number.value is None or number.low is None or number.high is None:
        return math.nan
    towards = number.low if number.value > null else number.high
    half, freedom = abs(number.value - towards), math.inf if trainings is None else trainings - 1
    if not half:
        return 1.0 if number.value == null else math.nan
    return 2 * float(t.sf(abs(number.value - null) / half * t.ppf(0.975, freedom), freedom))


def equivalence(seeds: Sequence[Estimate], margin: float, *, overlap: float = 0.0) -> float:
    """Return the p-value of "the mean differs from 0 by ``margin`` or more", by two one-sided t tests.

    NaN of fewer than two trainings, or of equal ones.

    Args:
        seeds: a number a training.
        margin: the largest difference that would not matter, stated before measuring.
        overlap: see :func:`interp.stats.over_seeds`.

    Raises:
        InputError: the margin is not above zero.
    """
    _require_margin(margin)
    above_low, below_high = _tails(seeds, -margin, overlap)[1], _tails(seeds, margin, overlap)[0]
    return math.nan if math.isnan(above_low) else max(above_low, below_high)


def is_equivalent(number: Estimate, margin: float) -> bool | None:
    """Say whether a whole interval lies within a margin around zero: two one-sided tests at 2.5% each.

    Returns:
        None where there is no interval.

    Raises:
        InputError: the margin is not above zero.
    """
    _require_margin(margin)
    if number.low is None or number.high is None:
        return None
    return -margin < number.low and number.high < margin


def _require_margin(margin: float) -> None:
    if not 0 < margin < math.inf:
        raise InputError(f"margin = {margin}: give the largest difference that would not matter, above zero")


def _tails(seeds: Sequence[Estimate], null: float, overlap: float) -> tuple[float, float]:
    """Return the probabilities of a mean as low, and as high, if the truth were ``null``."""
    values = observed_values(seeds)
    if len(values) < 2 or is_constant(values):
        return math.nan, math.nan
    distance = (float(values.mean()) - null) / standard_error(values, overlap)
    return float(t.cdf(distance, len(values) - 1)), float(t.sf(distance, len(values) - 1))
