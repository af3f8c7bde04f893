"""Means over facts with 95% intervals over subjects: of one column, and of a whole table of cells.

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

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from scipy.stats import binomtest

from finetune.common.errors import InputError
from interp.stats.bootstrap import Statistic, bootstrap, require_aligned
from interp.stats.result import Estimate, make_estimate


def estimate(
    values: Float[ndarray, " fact"],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    difference: bool = False,
    share: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Average values over facts, with a bootstrap over ``groups`` (the facts' subjects).

    Missing values (NaN) are dropped and do not count in ``n``. Where all values are equal and binary, a
    bootstrap would collapse to a point, so the exact Clopper-Pearson interval over groups is given.

    Args:
        values: a number a fact.
        groups: the subject of each fact; without it each fact stands alone.
        difference: the values are paired differences in [-1, 1]: the exact interval is two-sided.
        share: all values being 0 or 1 makes them right or wrong; give False for nats, logits and counts,
            whose interval is a point where they are constant.
        confidence: the share of such intervals that should hold the truth.
        seed: of the draws.

    Raises:
        InputError: a value is infinite, or there is not a group a value.

    Examples:
        >>> import numpy as np
        >>> right = np.array([1.0, 1.0, 0.0, 1.0])  # two facts about each of two people
        >>> found = estimate(right, groups=np.array(["Ada", "Ada", "Emmy", "Emmy"]))
        >>> found.value, found.low, found.high, found.n
        (0.75, 0.5, 1.0, 4)
    """
    values = np.asarray(values, dtype=np.float64)
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    require_aligned(values, labels)
    present = ~np.isnan(values)
    if not present.any():
        return Estimate(value=None, low=None, high=None, n=0)
    values, (subjects, member) = values[present], np.unique(labels[present], return_inverse=True)
    mean = finite_mean(values)
    bounds: tuple[float | None, float | None]
    if np.ptp(values) == 0:
        bounds = _constant(mean, len(subjects), difference, share, confidence)
    else:
        counts, sums = np.bincount(member).astype(np.float64), np.bincount(member, weights=values)
        drawn = np.arange(len(subjects))
        low, high = bootstrap(_ratio(sums, counts), drawn, confidence=confidence, seed=seed)
        bounds = float(low), float(high)
    return make_estimate(mean, *bounds, len(values))


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

    Args:
        values: a number a fact and cell.
        groups: the subject of each fact; without it each fact stands alone.
        confidence: the share of such intervals that should hold the truth.
        seed: of the draws.

    Returns:
        Means, lower and upper bounds; the bounds are NaN where there are fewer than two groups.

    Raises:
        InputError: a value is missing or infinite, or there is not a group a fact.
    """
    shape, values = values.shape[1:], np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    if odd := int((~np.isfinite(values)).any(1).sum()):
        raise InputError(f"{odd} of {len(values)} facts have a number that is none; leave those facts out")
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    require_aligned(values, labels)
    subjects, member = np.unique(labels, return_inverse=True)
    counts = np.bincount(member).astype(np.float64)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, member, values)
    mean = sums.sum(0) / counts.sum() if len(values) else np.full(values.shape[1], np.nan)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    if len(counts) > 1:
        statistic, drawn = _ratio(sums, counts), np.arange(len(subjects))
        below, above = bootstrap(statistic, drawn, cells=values.shape[1], confidence=confidence, seed=seed)
        low, high = np.minimum(below, mean), np.maximum(above, mean)
    return mean.reshape(shape), low.reshape(shape), high.reshape(shape)


def difference_of_means(
    values: Float[ndarray, " fact"], first: Bool[ndarray, " fact"], *, groups: Shaped[ndarray, " fact"]
) -> Estimate:
    """Estimate the mean over some facts less that over the others, with a bootstrap over all subjects.

    Where one side is all 0 or all 1, which no draw changes, both sides' own intervals are combined (Newcombe,
    1998, "Interval estimation for the difference between independent proportions", method 10).

    Args:
        values: a number a fact; missing ones (NaN) are left out.
        first: whose mean comes first; ``n`` counts these.
        groups: the subject of each fact.

    Raises:
        InputError: columns of different lengths.
    """
    require_aligned(values, first, groups)
    present = ~np.isnan(values)
    values, first, groups = values[present], first[present], groups[present]
    if first.all() or not first.any():
        return Estimate(value=None, low=None, high=None, n=int(first.sum()))

    def difference(weights: Float[ndarray, "draw fact"]) -> Float[ndarray, " draw"]:
        means = [(weights * some) @ values / (weights @ some) for some in (first, ~first)]
        return means[0] - means[1]

    value, n = float(difference(np.ones((1, len(values))))[0]), int(first.sum())
    sides = first, ~first
    if any(len(np.unique(groups[some])) < 2 for some in sides):
        return Estimate(value=value, low=None, high=None, n=n)
    if np.isin(values, (0, 1)).all() and any(np.ptp(values[some]) == 0 for some in sides):
        one, other = (estimate(values[some], groups=groups[some]) for some in sides)
        below, above = _combined(one, other), _combined(other, one)
        return make_estimate(value, value - below, value + above, n)
    low, high = bootstrap(difference, groups)
    return make_estimate(value, float(low), float(high), n)


def _combined(falls: Estimate, rises: Estimate) -> float:
    """Return how far a difference reaches where the one side falls and the other rises to its bound."""
    return math.hypot(falls.value - falls.low, rises.high - rises.value)  # type: ignore[operator]


def finite_mean(values: Float[ndarray, " fact"]) -> float:
    """Return the mean of values, none of which is infinite."""
    if odd := int(np.isinf(values).sum()):
        raise InputError(
            f"{odd} of {len(values)} numbers are infinite and have no mean; leave those rows out"
        )
    return float(values.mean())


def _ratio(sums: Float[ndarray, "group ..."], counts: Float[ndarray, " group"]) -> Statistic:
    """Return the mean over the facts of drawn groups: a ratio of sums, whose parts vary together."""
    return lambda weights: (weights @ sums).T / (weights @ counts)


def _constant(
    value: float, groups: int, difference: bool, share: bool, confidence: float
) -> tuple[float | None, float | None]:
    """Return the interval of values that are all equal: exact if binary, else a point."""
    if groups < 2:
        return None, None
    if not share or value not in ((-1.0, 0.0, 1.0) if difference else (0.0, 1.0)):
        return value, value
    exact = binomtest(int(groups * abs(value)), groups).proportion_ci(confidence, method="exact")
    low, high = float(exact.low), float(exact.high)
    if not difference or value == 1:
        return low, high
    return -high, (high if value == 0 else -low)
