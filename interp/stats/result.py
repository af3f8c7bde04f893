"""A number with its 95% interval and what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 95% interval. ``value`` and the bounds are None where ``n`` allows none."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def make_estimate(value: float, low: float | None, high: float | None, n: int) -> Estimate:
    """Make an estimate of a value and its bounds, widened to hold the value; a NaN bound is none.

    Every interval is made here (those of whole tables of cells by :func:`mean_by_cell`). A wider interval
    covers the truth no less often, and a value outside its own interval says that two numbers were mixed up.

    Args:
        value: the number.
        low: its lower bound, if it has one.
        high: its upper bound.
        n: what it rests on.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return Estimate(value=value, low=None, high=None, n=n)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)
