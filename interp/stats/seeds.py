"""Means over trainings (seeds) with Student's t: how far a number would hold for other trainings.

Seeds that redraw facts, base and fine-tuning are independent trainings: the variance of their mean is s² / k.
Seeds that split the same facts of one base anew are not, for their training sets overlap: then the variance
is s² (1 / k + n_test / n_train), the corrected resampled t (Nadeau and Bengio, 2003).
A share's interval is on the logit scale (:mod:`interp.stats.student`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from interp.stats.means import finite_mean
from interp.stats.result import Estimate, make_estimate
from interp.stats.student import UNBOUNDED, is_constant, require_confidence, t_bounds

if TYPE_CHECKING:
    import pandas as pd

TEST_OVER_TRAIN = "test_over_train"  # the column of a run's rows


def over_seeds(
    estimates: Sequence[Estimate],
    *,
    bounds: tuple[float, float] = UNBOUNDED,
    overlap: float = 0.0,
    confidence: float = 0.95,
) -> Estimate:
    """Average the values that several seeds gave; a t-interval over seeds, ``n`` is how many gave one.

    Between bounds of 0 and a finite number (a share, a percentage) the interval is on the logit scale; that
    of other bounded quantities (a difference, between -1 and 1) is cut to them. Where all seeds gave the same
    value a t-interval would collapse, so the widest of the seeds' own is given, if they have any.

    Args:
        estimates: a number a seed; those without a value are left out.
        bounds: beyond which the quantity cannot lie.
        overlap: held-out facts per training fact where the seeds split the same facts of one base; 0 for
            independent trainings.
        confidence: the share of such intervals that should hold the truth.

    Examples:
        >>> seeds = [Estimate(value=v, low=None, high=None, n=200) for v in (0.3, 0.4, 0.5)]
        >>> pooled = over_seeds(seeds, bounds=(0, 1))
        >>> round(pooled.value, 3), round(pooled.low, 3), round(pooled.high, 3), pooled.n
        (0.4, 0.191, 0.652, 3)
    """
    require_confidence(confidence)
    values = observed_values(estimates)
    if not len(values):
        return Estimate(value=None, low=None, high=None, n=0)
    mean = finite_mean(values)
    if len(values) == 1:
        return Estimate(value=mean, low=None, high=None, n=1)
    if not bounds[0] - 1e-9 <= mean <= bounds[1] + 1e-9:
        raise ValueError(f"a mean of {mean} does not lie between {bounds[0]} and {bounds[1]}, as it should")
    mean = min(max(mean, bounds[0]), bounds[1])
    if is_constant(values):
        own = [(e.low, e.high) for e in estimates if e.low is not None and e.high is not None]
        low, high = min((e[0] for e in own), default=None), max((e[1] for e in own), default=None)
        return make_estimate(mean, low, high, len(values))
    error, freedom = standard_error(values, overlap), len(values) - 1
    low, high = map(float, t_bounds(mean, error, freedom, bounds=bounds, confidence=confidence))
    return make_estimate(mean, low, high, len(values))


def standard_error(values: np.ndarray, overlap: float = 0.0) -> float:
    """Return the standard error of the mean of several trainings' numbers; ``overlap`` is of their splits."""
    return float(values.std(ddof=1) * math.sqrt(1 / len(values) + overlap))


def overlap_of(rows: pd.DataFrame) -> float:
    """Return the overlap of the seeds' splits that rows of facts tell of: their column ``test_over_train``.

    Runs on real facts write it; rows without it, or with several values, have none or the largest.
    """
    held = rows[TEST_OVER_TRAIN].dropna() if TEST_OVER_TRAIN in rows else ()
    return float(max(held, default=0.0))


def observed_values(estimates: Sequence[Estimate]) -> np.ndarray:
    """Return the values that are there, as an array."""
    given = [e.value for e in estimates if e.value is not None and not math.isnan(e.value)]
    return np.array(given, dtype=np.float64)
