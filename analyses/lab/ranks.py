"""How well one quantity ranks another: rank correlations and areas, with a bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from interp.results import Estimate, bootstrapped, roc_area

if TYPE_CHECKING:
    import pandas as pd
    from numpy import ndarray

Statistic = Callable[..., float | None]
RESAMPLES = 200
FEWEST = 3  # rows below which a rank says nothing


def resampled(
    rows: pd.DataFrame,
    columns: Sequence[str],
    statistic: Statistic,
    *,
    groups: str = "subject",
    seed: int = 0,
) -> Estimate:
    """Compute a statistic of some columns, with a 95% percentile bootstrap over ``groups``.

    Rows that lack one of the values are left out and do not count in ``n``. ``statistic`` takes the columns
    as arrays and may return None, where it is not defined; draws for which it is not are left out.
    """
    rows = rows.dropna(subset=list(columns))
    values = [rows[name].to_numpy(dtype=np.float64) for name in columns]
    if len(rows) < FEWEST:
        return Estimate(value=None, low=None, high=None, n=len(rows))
    return bootstrapped(statistic, values, rows[groups].to_numpy(), resamples=RESAMPLES, seed=seed)


def rank_correlation(x: Float[ndarray, " row"], y: Float[ndarray, " row"]) -> float | None:
    """Return Spearman's correlation, or None where one of the two does not vary."""
    from scipy.stats import rankdata

    if min(np.ptp(x), np.ptp(y)) == 0:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def spearman(rows: pd.DataFrame, x: str, y: str, *, groups: str = "subject") -> Estimate:
    """Correlate the ranks of two columns."""
    return resampled(rows, (x, y), rank_correlation, groups=groups)


def area(rows: pd.DataFrame, x: str, positive: str, *, groups: str = "subject") -> Estimate:
    """Measure how likely a positive row has the larger ``x``: the area under the ROC curve."""
    return resampled(rows, (x, positive), roc_area, groups=groups)


def area_gain(rows: pd.DataFrame, x: str, other: str, positive: str) -> Estimate:
    """Measure how much larger one predictor's area is than another's, on the same rows."""

    def gain(a: Shaped[ndarray, " row"], b: Shaped[ndarray, " row"], is_so: Shaped[ndarray, " row"]):  # type: ignore[no-untyped-def]
        first, second = roc_area(a, is_so), roc_area(b, is_so)
        return None if first is None or second is None else first - second

    return resampled(rows, (x, other, positive), gain)


def same_sign(rows: pd.DataFrame, x: str, y: str) -> Estimate:
    """Return the share of rows in which two columns have one sign; a zero has the sign of no other."""

    def share(a: Float[ndarray, " row"], b: Float[ndarray, " row"]) -> float:
        return float((a * b > 0).mean())

    return resampled(rows, (x, y), share)


def derangement(labels: Sequence[str], *, seed: int = 0) -> list[int]:
    """Draw for each row another row of the same label, as a placebo; its own where there is no other."""
    rng = np.random.default_rng([seed, 42])
    other = list(range(len(labels)))
    for label in sorted(set(labels)):
        members = rng.permutation([i for i, each in enumerate(labels) if each == label])
        for i, j in zip(members, np.roll(members, 1), strict=True):
            other[int(i)] = int(j)
    return other
