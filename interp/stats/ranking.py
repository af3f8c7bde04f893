"""AUROC and rank correlation (Spearman), with intervals over subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from interp.stats.bootstrap import FEWEST, RESAMPLES, bootstrapped
from interp.stats.estimates import Estimate

if TYPE_CHECKING:
    from numpy import ndarray


def auroc(
    values: Float[ndarray, " fact"],
    positive: Shaped[ndarray, " fact"],
    *,
    groups: Shaped[ndarray, " fact"] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    fewest: int = 1,
    seed: int = 0,
) -> Estimate:
    """Measure the area under the ROC curve, with a percentile bootstrap over ``groups``.

    It is the probability that a positive has the larger value (half of it where they tie). None where one of
    the two kinds is missing. Facts without a value (NaN) are left out and do not count in ``n``.
    """
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    return bootstrapped(
        roc_area,
        (values, positive),
        labels,
        confidence=confidence,
        resamples=resamples,
        fewest=fewest,
        seed=seed,
    )


def roc_area(values: Float[ndarray, " fact"], positive: Shaped[ndarray, " fact"]) -> float | None:
    """Return the area under the ROC curve, or None where one of the two kinds is missing."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    if not 0 < n < len(positive):
        return None
    above = rankdata(values)[positive.astype(bool)].sum() - n * (n + 1) / 2
    return float(above / (n * (len(positive) - n)))


def rank_correlation(x: Float[ndarray, " row"], y: Float[ndarray, " row"]) -> float | None:
    """Return Spearman's correlation, or None where one of the two does not vary."""
    from scipy.stats import rankdata

    if min(np.ptp(x), np.ptp(y)) == 0:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def spearman(
    x: Float[ndarray, " row"],
    y: Float[ndarray, " row"],
    *,
    groups: Shaped[ndarray, " row"] | None = None,
    fewest: int = FEWEST,
) -> Estimate:
    """Correlate the ranks of two columns."""
    labels = np.arange(len(x)) if groups is None else groups
    return bootstrapped(rank_correlation, (x, y), labels, fewest=fewest)


def auroc_gain(
    x: Float[ndarray, " row"],
    other: Float[ndarray, " row"],
    positive: Shaped[ndarray, " row"],
    *,
    groups: Shaped[ndarray, " row"] | None = None,
) -> Estimate:
    """Measure by how much one predictor's AUROC exceeds another's, on the same rows."""

    def gain(
        a: Float[ndarray, " row"], b: Float[ndarray, " row"], is_so: Shaped[ndarray, " row"]
    ) -> float | None:
        first, second = roc_area(a, is_so), roc_area(b, is_so)
        return None if first is None or second is None else first - second

    labels = np.arange(len(x)) if groups is None else groups
    return bootstrapped(gain, (x, other, positive), labels, fewest=FEWEST)


def same_sign(
    x: Float[ndarray, " row"], y: Float[ndarray, " row"], *, groups: Shaped[ndarray, " row"] | None = None
) -> Estimate:
    """Return the share of rows in which two columns have one sign; a zero has the sign of no other."""

    def share(a: Float[ndarray, " row"], b: Float[ndarray, " row"]) -> float:
        return float((a * b > 0).mean())

    labels = np.arange(len(x)) if groups is None else groups
    return bootstrapped(share, (x, y), labels, fewest=FEWEST)
