"""Means with 95% intervals over subjects: the estimate of one column, and of a whole table of cells.

One estimand, wherever facts are averaged:

1. The value is the mean over all *facts* (not the mean of the subjects' means): a subject with ten facts
   counts ten times.
2. Its interval asks what other *subjects* would have given: see :mod:`interp.stats.bootstrap`.
3. Bounds are widened to hold the value where rounding, or the bias of a statistic under resampling, has left
   it outside.
4. Missing values (NaN) are left out and do not count in ``n``; infinite ones are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from finetune.facts import InputError

if TYPE_CHECKING:
    from numpy import ndarray

RESAMPLES = 2000
BATCH = 250  # draws at a time, which bounds memory


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
    difference: bool = False,
    share: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Average values over facts, with a percentile bootstrap over ``groups`` (the facts' subjects).

    The estimand is the mean over facts; whole subjects are drawn, and the mean is over all facts of those
    drawn. Missing values (NaN) are dropped and do not count in ``n``. Where all values are equal and binary,
    a bootstrap would collapse to a point, so the exact Clopper-Pearson interval over groups is given.

    Args:
        values: a number a fact.
        groups: the subject of each fact; without it each fact stands alone.
        difference: the values are paired differences between -1 and 1, for which the exact interval is
            two-sided.
        share: all values being 0 or 1 makes them right or wrong; give False for nats, logits and counts,
            whose interval is a point where they are constant.
        confidence: the share of such intervals that should hold the truth.
        seed: of the draws.

    Raises:
        InputError: a value is infinite.

    Examples:
        >>> import numpy as np
        >>> right = np.array([1.0, 1.0, 0.0, 1.0])  # two facts about each of two people
        >>> found = estimate(right, groups=np.array(["Ada", "Ada", "Emmy", "Emmy"]))
        >>> found.value, found.low, found.high, found.n
        (0.75, 0.5, 1.0, 4)
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
    mean = finite_mean(values)
    if np.ptp(values) == 0:
        low, high = _constant(mean, len(sums), difference, share, confidence)
    else:
        low, high = _interval(sums, counts, confidence, seed)
    return spanning(mean, low, high, len(values))


def spanning(value: float, low: float | None, high: float | None, n: int) -> Estimate:
    """Make an estimate of a value and its bounds, widened to hold the value; a NaN bound is none.

    Every interval is made here (those of whole tables of cells by :func:`mean_by_cell`). A wider interval
    covers the truth no less often, and a value outside its own interval says that two numbers were mixed up.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return Estimate(value=value, low=None, high=None, n=n)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def mean_by_cell(
    values: Float[ndarray, "fact ..."],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Float[ndarray, ...], Float[ndarray, ...], Float[ndarray, ...]]:
    """Average many cells (layers, heads) over the same facts, each as :func:`estimate` would.

    All cells share their draws, so that a table of a thousand costs little more than one. Cells that are
    constant have a point as their interval.

    Returns:
        Means, lower and upper bounds; the bounds are NaN where there are fewer than two groups.

    Raises:
        InputError: a value is missing or infinite.
    """
    shape, values = values.shape[1:], np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    if odd := int((~np.isfinite(values)).any(1).sum()):
        raise InputError(f"{odd} of {len(values)} facts have a number that is none; leave those facts out")
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    _, member = np.unique(labels, return_inverse=True)
    counts = np.bincount(member).astype(np.float64)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, member, values)
    mean = sums.sum(0) / counts.sum() if len(values) else np.full(values.shape[1], np.nan)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    if len(counts) > 1:
        tail = 50 * (1 - confidence)
        drawn = np.concatenate([w @ sums / (w @ counts)[:, None] for w in _weights(len(counts), seed)])
        bounds = np.percentile(drawn, [tail, 100 - tail], axis=0)
        low, high = np.minimum(bounds[0], mean), np.maximum(bounds[1], mean)
    return mean.reshape(shape), low.reshape(shape), high.reshape(shape)


def _weights(groups: int, seed: int) -> Iterator[Float[ndarray, "draw group"]]:
    """Yield, a batch at a time, how often each draw takes each group: the draws of scipy's bootstrap."""
    rng = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, BATCH):
        count = min(BATCH, RESAMPLES - start)
        places = rng.integers(0, groups, (count, groups)) + groups * np.arange(count)[:, None]
        yield np.bincount(places.ravel(), minlength=count * groups).reshape(count, groups).astype(np.float64)


def finite_mean(values: Float[ndarray, " fact"]) -> float:
    """Return the mean of values, none of which is infinite."""
    if odd := int(np.isinf(values).sum()):
        raise InputError(
            f"{odd} of {len(values)} numbers are infinite and have no mean; leave those rows out"
        )
    return float(values.mean())


def _constant(
    value: float, groups: int, difference: bool, share: bool, confidence: float
) -> tuple[float | None, float | None]:
    """Return the interval of values that are all equal: exact if binary, else a point."""
    from scipy.stats import binomtest

    if groups < 2:
        return None, None
    if not share or value not in ((-1.0, 0.0, 1.0) if difference else (0.0, 1.0)):
        return value, value
    exact = binomtest(int(groups * abs(value)), groups).proportion_ci(confidence, method="exact")
    low, high = float(exact.low), float(exact.high)
    if not difference or value == 1:
        return low, high
    return -high, (high if value == 0 else -low)


def _interval(
    sums: Float[ndarray, " group"], counts: Float[ndarray, " group"], confidence: float, seed: int
) -> tuple[float | None, float | None]:
    from scipy.stats import bootstrap

    if len(sums) < 2:
        return None, None
    result = bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
