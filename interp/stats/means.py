"""Means over facts with 95% intervals over subjects: of one column, and of a whole table of cells.

One estimand, wherever facts are averaged:

1. The value is the mean over all *facts* (not the mean of the subjects' means): a subject with ten facts
   counts ten times.
2. Its interval asks what other *subjects* would have given: see :mod:`interp.stats.bootstrap`, and of fewer
   than twenty subjects Student's t (:mod:`interp.stats.student`), because the bootstrap of few is too short.
3. Bounds are widened to hold the value where rounding, or the bias of a statistic under resampling, has left
   it outside.
4. Missing values (NaN) are left out and do not count in ``n``; infinite ones are refused.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from scipy.stats import binomtest, t

from finetune.common.errors import InputError
from interp.stats.bootstrap import (
    Bounds,
    Statistic,
    bootstrap,
    group_codes,
    require_aligned,
)
from interp.stats.result import Estimate, make_estimate
from interp.stats.student import FEW, UNBOUNDED, is_constant, mean_with_parts, require_confidence, t_bounds


def estimate(
    values: Float[ndarray, " fact"],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    difference: bool = False,
    share: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Average values over facts, with a 95% interval over ``groups`` (the facts' subjects).

    Missing values (NaN) are dropped and do not count in ``n``. The interval is a bootstrap, and Student's t
    of fewer than twenty groups. Where all values are equal and binary, both would collapse to a point, so the
    exact Clopper-Pearson interval over groups is given; where values differ and groups do not, there is none.

    Args:
        values: a number a fact.
        groups: the subject of each fact; without it each fact stands alone.
        difference: the values are paired differences in [-1, 1]: the exact interval is two-sided.
        share: all values being 0 or 1 makes them right or wrong; give False for nats, logits and counts,
            whose interval is a point where they are constant.
        confidence: the share of such intervals that should hold the truth.
        seed: of the draws.

    Raises:
        InputError: a value is infinite, there is not a group a value, or ``confidence`` is no share.

    Examples:
        >>> import numpy as np
        >>> right = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])  # two facts about each of three people
        >>> found = estimate(right, groups=np.array(["Ada", "Ada", "Emmy", "Emmy", "Lise", "Lise"]))
        >>> round(found.value, 2), round(found.low, 2), round(found.high, 2), found.n
        (0.67, 0.07, 0.98, 6)
    """
    require_confidence(confidence)
    values = np.asarray(values, dtype=np.float64)
    labels = group_codes(groups, len(values))
    require_aligned(values, labels)
    present = ~np.isnan(values)
    if not present.any():
        return Estimate(value=None, low=None, high=None, n=0)
    values, (subjects, member) = values[present], np.unique(labels[present], return_inverse=True)
    mean = finite_mean(values)
    counts, sums = np.bincount(member).astype(np.float64), np.bincount(member, weights=values)
    if is_constant(values) or (difference and not sums.any()):  # of no subject more is right than before
        bounds = _constant(mean, len(subjects), difference, share, confidence)
    else:
        limits = (-1.0, 1.0) if difference else (0.0, 1.0) if share else UNBOUNDED
        bounds = _inside(values, sums, counts, limits=limits, confidence=confidence, seed=seed)
    return make_estimate(mean, *bounds, len(values))


def mean_by_cell(
    values: Float[ndarray, "fact ..."],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Float[ndarray, ...], Float[ndarray, ...], Float[ndarray, ...]]:
    """Average many cells (layers, heads) over the same facts, as :func:`estimate` would what is no share.

    All cells share their draws, so that a table of a thousand costs little more than one. Cells that are
    constant have a point as their interval.

    Args:
        values: a number a fact and cell.
        groups: the subject of each fact; without it each fact stands alone.
        confidence: the share of such intervals that should hold the truth.
        seed: of the draws.

    Returns:
        Means, lower and upper bounds; the bounds are NaN where there are fewer than two groups, or none
        differs from another.

    Raises:
        InputError: a value is missing or infinite, or there is not a group a fact.
    """
    require_confidence(confidence)
    shape = np.shape(values)[1:]
    values = np.asarray(values, dtype=np.float64).reshape(len(values), math.prod(shape))
    if odd := int((~np.isfinite(values)).any(1).sum()):
        raise InputError(f"{odd} of {len(values)} facts have a number that is none; leave those facts out")
    labels = group_codes(groups, len(values))
    require_aligned(np.arange(len(values)), labels)
    if not values.size:
        nothing = np.full(shape, np.nan)
        return nothing, nothing.copy(), nothing.copy()
    sums, counts = sums_of_groups(values, labels)
    mean = sums.sum(0) / counts.sum()
    low, high = _over_groups(sums, counts, confidence=confidence, seed=seed)
    if len(counts) > 1:
        low, high = (np.where(is_constant(values), mean, bound) for bound in (low, high))
    low, high = np.minimum(low, mean), np.maximum(high, mean)
    return mean.reshape(shape), low.reshape(shape), high.reshape(shape)


def mean_p_values(
    values: Float[ndarray, "fact ..."],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    side: Literal["below", "above"],
) -> Float[ndarray, ...]:
    """Test whether many cells' means lie below zero, or above: one-sided p-values of Student's t over groups.

    Of a table whose foremost cells are looked at, correct them with :func:`interp.stats.adjusted`.

    Args:
        values: a number a fact and cell.
        groups: the subject of each fact; without it each fact stands alone.
        side: the side of zero that the means are held to lie on.

    Returns:
        A p-value a cell; NaN where there are fewer than two groups, or none differs from another.

    Raises:
        InputError: there is not a group a fact.
    """
    values = np.asarray(values, dtype=np.float64)
    labels = group_codes(groups, len(values))
    require_aligned(np.arange(len(values)), labels)
    sums, counts = sums_of_groups(values, labels)
    if len(counts) < 2:
        return np.full(values.shape[1:], np.nan)
    mean, parts = mean_with_parts(sums, counts)
    error = np.hypot.reduce(parts, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(error > 0, mean / error, np.nan)
    return np.asarray(t.sf(distance if side == "above" else -distance, len(counts) - 1))


def finite_mean(values: Float[ndarray, " fact"]) -> float:
    """Return the mean of values, none of which is infinite."""
    if odd := int(np.isinf(values).sum()):
        raise InputError(
            f"{odd} of {len(values)} numbers are infinite and have no mean; leave those rows out"
        )
    return float(values.mean())


def sums_of_groups(
    values: Float[ndarray, "fact ..."],
    groups: Int[ndarray, " fact"],
    counted: Bool[ndarray, " fact"] | None = None,
) -> tuple[Float[ndarray, "group ..."], Float[ndarray, " group"]]:
    """Return the sum of each group's values, and how many facts it has (of those that are counted)."""
    member = np.unique(groups, return_inverse=True)[1]
    counts = np.bincount(member, weights=counted).astype(np.float64)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, member, values)
    return sums, counts


def _inside(
    values: Float[ndarray, " fact"],
    sums: Float[ndarray, " group"],
    counts: Float[ndarray, " group"],
    *,
    limits: tuple[float, float],
    confidence: float,
    seed: int,
) -> Bounds:
    """Return the bounds of a mean, kept inside the limits that its values keep.

    Binary values and paired differences are placed on their limits' own scale; an average of shares that are
    not 0 or 1 has a plain interval, which is cut.
    """
    inside = limits[0] <= values.min() and values.max() <= limits[1]
    on_scale = inside and (limits[0] == -1 or bool(np.isin(values, (0, 1)).all()))
    bounds = limits if on_scale else UNBOUNDED
    low, high = _over_groups(sums, counts, bounds=bounds, confidence=confidence, seed=seed)
    if inside:
        low, high = np.clip((low, high), *limits)
    return float(low), float(high)


def _over_groups(
    sums: Float[ndarray, "group ..."],
    counts: Float[ndarray, " group"],
    *,
    bounds: tuple[float, float] = UNBOUNDED,
    confidence: float,
    seed: int,
) -> tuple[Float[ndarray, "*cell"], Float[ndarray, "*cell"]]:
    """Return the bounds of means over drawn groups, or of Student's t over few; NaN where none differs."""
    nothing = np.full(sums.shape[1:], np.nan)
    if len(counts) < 2:
        return nothing, nothing
    mean, parts = mean_with_parts(sums, counts)
    error = np.hypot.reduce(parts, axis=0)
    if len(counts) < FEW:
        low, high = t_bounds(mean, error, len(counts) - 1, bounds=bounds, confidence=confidence)
    else:
        drawn, cells = np.arange(len(counts)), max(1, nothing.size)
        low, high = bootstrap(_ratio(sums, counts), drawn, cells=cells, confidence=confidence, seed=seed)
    return np.where(error > 0, low, np.nan), np.where(error > 0, high, np.nan)


def _ratio(sums: Float[ndarray, "group ..."], counts: Float[ndarray, " group"]) -> Statistic:
    """Return the mean over the facts of drawn groups: a ratio of sums, whose parts vary together."""
    return lambda weights: (weights @ sums).T / (weights @ counts)


def _constant(value: float, groups: int, difference: bool, share: bool, confidence: float) -> Bounds:
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
