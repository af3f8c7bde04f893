"""Means over trainings (seeds) with Student's t: how far a number would hold for other trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from interp.stats.means import finite_mean
from interp.stats.result import Estimate, spanning


def over_seeds(
    estimates: Sequence[Estimate],
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
) -> Estimate:
    """Average the values that several seeds gave; a t-interval over seeds, ``n`` is how many gave one.

    The interval is cut to ``bounds``, beyond which the quantity cannot lie (0 and 1 for a share). Where all
    seeds gave the same value a t-interval would collapse, so the widest of the seeds' own is given.

    Examples:
        >>> seeds = [Estimate(value=v, low=None, high=None, n=200) for v in (0.3, 0.4, 0.5)]
        >>> pooled = over_seeds(seeds, bounds=(0, 1))
        >>> round(pooled.value, 3), round(pooled.low, 3), round(pooled.high, 3), pooled.n
        (0.4, 0.152, 0.648, 3)
    """
    from scipy.stats import t

    given = [e.value for e in estimates if e.value is not None and not math.isnan(e.value)]
    values = np.array(given, dtype=np.float64)
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    mean = finite_mean(values)
    if len(values) == 1:
        return Estimate(value=mean, low=None, high=None, n=1)
    if not bounds[0] - 1e-9 <= mean <= bounds[1] + 1e-9:
        raise ValueError(f"a mean of {mean} does not lie between {bounds[0]} and {bounds[1]}, as it should")
    mean = min(max(mean, bounds[0]), bounds[1])
    if np.ptp(values) == 0:
        own = [(e.low, e.high) for e in estimates if e.low is not None and e.high is not None]
        low, high = min((e[0] for e in own), default=mean), max((e[1] for e in own), default=mean)
        return spanning(mean, low, high, len(values))
    half = float(values.std(ddof=1) / np.sqrt(len(values)) * t.ppf(0.5 + confidence / 2, len(values) - 1))
    return spanning(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), len(values))
