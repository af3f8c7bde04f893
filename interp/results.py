"""Numbers with an interval, and results that remember which model they were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

if TYPE_CHECKING:
    from numpy import ndarray

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 95% interval. ``value`` and the bounds are None where ``n`` allows none."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def estimate(
    values: Float[ndarray, " fact"],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Average values; the interval is a percentile bootstrap over ``groups`` (facts of one subject vary together).

    Missing values (NaN) are dropped and do not count in ``n``. Where all values are equal and binary, a
    bootstrap would collapse to a point, so the exact Clopper-Pearson interval over groups is given.
    """
    values = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(values)
    values = values[present]
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)[present]
    _, member = np.unique(labels, return_inverse=True)
    counts = np.bincount(member).astype(np.float64)
    sums = np.bincount(member, weights=values)
    mean = float(values.mean())
    low, high = _interval(sums, counts, values, confidence, seed)
    return Estimate(value=mean, low=low, high=high, n=len(values))


def over_seeds(estimates: Sequence[Estimate], *, confidence: float = 0.95) -> Estimate:
    """Average the values that several seeds gave; a t-interval over seeds, ``n`` is how many."""
    from scipy.stats import t

    values = np.array([e.value for e in estimates if e.value is not None], dtype=np.float64)
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    mean = float(values.mean())
    if len(values) == 1:
        return Estimate(value=mean, low=None, high=None, n=1)
    half = float(values.std(ddof=1) / np.sqrt(len(values)) * t.ppf(0.5 + confidence / 2, len(values) - 1))
    return Estimate(value=mean, low=mean - half, high=mean + half, n=len(values))


def _interval(
    sums: Float[ndarray, " group"],
    counts: Float[ndarray, " group"],
    values: Float[ndarray, " fact"],
    confidence: float,
    seed: int,
) -> tuple[float | None, float | None]:
    from scipy.stats import binomtest, bootstrap

    if len(sums) < 2:
        return None, None
    if np.ptp(values) == 0:
        if values[0] not in (0.0, 1.0):
            return float(values[0]), float(values[0])
        exact = binomtest(int(len(sums) * values[0]), len(sums)).proportion_ci(confidence, method="exact")
        return float(exact.low), float(exact.high)
    result = bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        batch=250,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
