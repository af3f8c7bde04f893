"""Probabilities from a predictor's rank: a logistic curve fitted on some facts and tried on others."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

RIDGE = 1e-4  # on the slope, per fact: keeps the fit finite where a rank separates the two kinds


def fit_logistic(x: Float[ndarray, " fact"], y: Bool[ndarray, " fact"]) -> tuple[float, float]:
    """Fit p(y) = 1 / (1 + exp(-(a + b x))) by maximum likelihood; return a and b."""
    sign = np.where(y, 1.0, -1.0)

    def lost(ab: ndarray) -> tuple[float, ndarray]:
        margin = sign * (ab[0] + ab[1] * x)
        slope = -sign * expit(-margin) / len(x)
        value = np.logaddexp(0, -margin).mean() + RIDGE * ab[1] ** 2
        return float(value), np.array([slope.sum(), (slope * x).sum() + 2 * RIDGE * ab[1]])

    a, b = minimize(lost, np.zeros(2), jac=True, method="BFGS").x
    return float(a), float(b)


def held_out_probabilities(
    x: Float[ndarray, " fact"], y: Bool[ndarray, " fact"], fold: Shaped[ndarray, " fact"]
) -> tuple[Float[ndarray, " fact"], Float[ndarray, " fact"]]:
    """Predict each fold from a curve fitted on the others.

    Returns:
        The curve's probabilities, and the other folds' base rate: what one would say without a predictor.
        Both are NaN where there is no other fold.
    """
    curve, rate = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for each in np.unique(fold):
        here, there = fold == each, fold != each
        if not there.any():
            continue
        a, b = fit_logistic(x[there], y[there])
        curve[here], rate[here] = expit(a + b * x[here]), y[there].mean()
    return curve, rate


def ranks_within(x: Float[ndarray, " fact"], group: Shaped[ndarray, " fact"]) -> Float[ndarray, " fact"]:
    """Return each value's rank in its group, between 0 and 1; equal values have equal ranks."""
    result = np.empty(len(x))
    for each in np.unique(group):
        members = group == each
        result[members] = (rankdata(x[members]) - 0.5) / members.sum()
    return result
