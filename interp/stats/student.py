"""Student's t for means over few things: trainings, or the subjects of a small table.

The bootstrap of a mean over few groups is too short: its variance is (k - 1) / k of what it should be, and
its percentiles are a normal's. A share cannot lie below 0 or above 1, so its interval is symmetric on the
logit scale instead of cut: with m the mean and h the half-width of the plain interval,
expit(logit(m) ± h / (m (1 - m))).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.special import expit, logit
from scipy.stats import t

from finetune.common.errors import InputError

UNBOUNDED = (-math.inf, math.inf)
FEW = 20  # groups below which the mean of a table has an interval of Student's t
_ROUNDING = 1e-12
Numbers = Float[ndarray, "*cell"] | float


def t_bounds(
    mean: Numbers,
    error: Numbers,
    freedom: int,
    *,
    bounds: tuple[float, float] = UNBOUNDED,
    confidence: float = 0.95,
) -> tuple[Float[ndarray, "*cell"], Float[ndarray, "*cell"]]:
    """Return the lower and upper bounds of Student's t around means.

    Args:
        mean: one or many means.
        error: their standard errors.
        freedom: degrees of freedom: one less than there are groups.
        bounds: beyond which the quantity cannot lie; between 0 and a finite number the interval is on the
            logit scale, else it is cut.
        confidence: the share of such intervals that should hold the truth.
    """
    lowest, highest = bounds
    mean, half = np.asarray(mean), np.asarray(error) * float(t.ppf(0.5 + confidence / 2, freedom))
    low, high = np.maximum(mean - half, lowest), np.minimum(mean + half, highest)
    if lowest != 0 or not math.isfinite(highest):
        return low, high
    share = mean / highest
    inside = (share > 0) & (share < 1)
    share = np.where(inside, share, 0.5)
    wide = half / highest / (share * (1 - share))
    below, above = (highest * expit(logit(share) + sign * wide) for sign in (-1, 1))
    return np.where(inside, below, low), np.where(inside, above, high)


def mean_with_parts(
    sums: Float[ndarray, "group ..."], counts: Float[ndarray, " group"]
) -> tuple[Float[ndarray, "*cell"], Float[ndarray, "group ..."]]:
    """Return the mean over all facts of two groups or more, and what each group adds to its variance.

    With S and n the sum and the number of each of k groups' facts, the mean m = ΣS / Σn is a ratio, and
    linearised it has the variance Σp², p = √(k / (k - 1)) (S - m n) / Σn. Parts are 0 where groups differ by
    no more than rounding.
    """
    k, total = int((counts > 0).sum()), counts.sum()
    mean = sums.sum(0) / total
    away = sums - np.multiply.outer(counts, mean)
    away = np.where(np.abs(away) <= _ROUNDING * np.abs(sums).max(0), 0.0, away)
    return mean, math.sqrt(k / (k - 1)) * away / total


def is_constant(values: Float[ndarray, "fact ..."]) -> Bool[ndarray, ...]:
    """Tell of which cells the values differ by no more than rounding."""
    return np.ptp(values, axis=0) <= _ROUNDING * np.abs(values).max(0)


def require_confidence(confidence: float) -> None:
    """Refuse a confidence that is no share.

    Raises:
        InputError: it does not lie between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence = {confidence}: give a share between 0 and 1, such as 0.95")
