"""Differences between two means over facts, with 95% intervals over all subjects."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from interp.stats.bootstrap import bootstrap, drawn_estimate, group_codes, require_aligned
from interp.stats.means import estimate, finite_mean, sums_of_groups
from interp.stats.result import Estimate, make_estimate
from interp.stats.student import FEW, UNBOUNDED, mean_with_parts, t_bounds


def difference_of_means(
    values: Float[ndarray, " fact"], first: Bool[ndarray, " fact"], *, groups: Shaped[ndarray, " fact"]
) -> Estimate:
    """Estimate the mean over some facts less that over the others, with a bootstrap over all subjects.

    Where a side has fewer than twenty subjects the interval is Student's t, with one degree of freedom less
    than the smaller side has subjects; where one has but one, there is none. Where one side is all 0 or all
    1, which no draw changes, both sides' own intervals are combined (Newcombe, 1998, "Interval estimation
    for the difference between independent proportions", method 10).

    Args:
        values: a number a fact; missing ones (NaN) are left out.
        first: whose mean comes first; ``n`` counts these.
        groups: the subject of each fact.

    Raises:
        InputError: columns of different lengths, or a value is infinite.
    """
    values, first = np.asarray(values, dtype=np.float64), np.asarray(first, dtype=bool)
    groups = group_codes(groups, len(values))
    require_aligned(values, first, groups)
    present = ~np.isnan(values)
    values, first, groups = values[present], first[present], groups[present]
    if first.all() or not first.any():
        return Estimate(value=None, low=None, high=None, n=int(first.sum()))

    finite_mean(values)

    def difference(weights: Float[ndarray, "draw fact"]) -> Float[ndarray, " draw"]:
        means = [(weights * some) @ values / (weights @ some) for some in (first, ~first)]
        return means[0] - means[1]

    value, n = float(difference(np.ones((1, len(values))))[0]), int(first.sum())
    sides = first, ~first
    fewest = min(len(np.unique(groups[some])) for some in sides)
    if fewest < 2:
        return Estimate(value=value, low=None, high=None, n=n)
    if np.isin(values, (0, 1)).all() and any(np.ptp(values[some]) == 0 for some in sides):
        one, other = (estimate(values[some], groups=groups[some]) for some in sides)
        if one.low is None or other.low is None:
            return Estimate(value=value, low=None, high=None, n=n)
        below, above = _combined(one, other), _combined(other, one)
        return make_estimate(value, value - below, value + above, n)
    if fewest >= FEW:
        low, high = bootstrap(difference, groups)
    else:
        low, high = _of_few(values, sides, groups, value, fewest)
    return drawn_estimate(value, float(low), float(high), n)


def _of_few(
    values: Float[ndarray, " fact"],
    sides: tuple[Bool[ndarray, " fact"], Bool[ndarray, " fact"]],
    groups: Int[ndarray, " fact"],
    value: float,
    fewest: int,
) -> tuple[Float[ndarray, ""], Float[ndarray, ""]]:
    """Return Student's t bounds of a difference whose smaller side has few subjects."""
    parts = [mean_with_parts(*sums_of_groups(values * some, groups, some))[1] for some in sides]
    error = np.hypot.reduce(parts[0] - parts[1])
    inside = values.min() >= 0 and values.max() <= 1
    return t_bounds(value, error, fewest - 1, bounds=(-1, 1) if inside else UNBOUNDED)


def _combined(falls: Estimate, rises: Estimate) -> float:
    """Return how far a difference reaches where the one side falls and the other rises to its bound."""
    return math.hypot(falls.value - falls.low, rises.high - rises.value)  # type: ignore[operator]
