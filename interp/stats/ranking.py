"""AUROC (by scikit-learn), rank correlation (by scipy) and medians, with intervals over subjects.

Rows that lack a value (NaN) are left out and do not count in ``n``. Every function takes ``groups``, the
subject of each row; without it each row stands alone. ``labels`` asks within each label (a relation, an arm)
and averages over labels, so that what differs between them says nothing; labels for which the statistic is
not defined are left out. Columns of different lengths are refused (``InputError``). There is no interval over
fewer than five groups, nor where no draw changes the statistic; an area of 0 or 1 has an exact one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import binomtest, rankdata, spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from interp.stats.bootstrap import (
    FEWEST,
    Bounds,
    Statistic,
    expanded_confidence,
    group_codes,
    of_rows,
    require_aligned,
)
from interp.stats.means import estimate
from interp.stats.result import Estimate
from interp.stats.weighted import (
    area_of,
    kappa_of,
    median_of,
    spearman_of,
    within,
)

if TYPE_CHECKING:
    from numpy import ndarray

    Column = Float[ndarray, " row"]
    Labels = Shaped[ndarray, " row"] | None


def median(values: Column, *, groups: Labels = None) -> Estimate:
    """Take the median of a column; its interval is of plain percentiles, as a median is not smooth."""
    return of_rows(median_of, lambda x: float(np.median(x)), [values], groups, fewest=1, method="percentile")


def auroc(
    values: Column,
    positive: Shaped[ndarray, " row"],
    *,
    groups: Labels = None,
    labels: Labels = None,
    fewest: int = 1,
    seed: int = 0,
) -> Estimate:
    """Measure the area under the ROC curve: how likely a positive has the larger value, ties counting half.

    None where one of the two kinds is missing. An interval rests on the groups of the rarer kind: there is
    none of fewer than five, and a wider one of few (:func:`expanded_confidence`). That of an area of 0 or 1,
    which no draw changes, is exact: that n disjoint pairs of groups were all ranked alike, n being the
    groups of the rarer kind, has at most the probability area^n (Clopper and Pearson, 1934).

    Args:
        values: the predictor.
        positive: which rows are positive.
        groups: the subject of each row; without it each row stands alone.
        labels: relations or arms within which it is computed, then averaged.
        fewest: rows below which there is no value.
        seed: of the draws.
    """
    how: dict[str, Any] = {"exact": _separated, "widened": _of_rarer, "fewest": fewest, "seed": seed}
    return _estimate(area_of, roc_area, [values, positive], groups, labels, **how)


def _separated(
    groups: Shaped[ndarray, " row"], area: float, *columns: Shaped[ndarray, " row"]
) -> Bounds | None:
    """Return the exact bounds of an area of 0 or 1; None of any other, or of one group."""
    if area not in (0, 1) or len(np.unique(groups)) < 2:
        return None
    *codes, _, positive = columns
    right = positive.astype(bool)
    code = codes[0] if codes else np.zeros(len(right))
    bounds = []
    for label in np.unique(code):
        kinds = [np.unique(groups[(code == label) & kind]) for kind in (right, ~right)]
        pairs = min(map(len, kinds))
        if pairs:  # a group of both kinds is in one pair alone
            pairs = max(1, min(pairs, len(np.union1d(*kinds)) // 2))
            bounds.append(float(binomtest(pairs, pairs).proportion_ci(method="exact").low))
    low = float(np.mean(bounds))
    return (low, 1.0) if area == 1 else (0.0, 1 - low)


def _of_rarer(groups: Shaped[ndarray, " row"], *columns: Shaped[ndarray, " row"]) -> float:
    """Return the confidence for as many groups as the rarer kind has; the last column says the kind."""
    right = columns[-1].astype(bool)
    return expanded_confidence(min(len(np.unique(groups[kind])) for kind in (right, ~right)))


def auroc_gain(
    x: Column,
    other: Column,
    positive: Shaped[ndarray, " row"],
    *,
    groups: Labels = None,
    labels: Labels = None,
) -> Estimate:
    """Measure by how much one predictor's area under the ROC curve exceeds another's, on the same rows.

    Args:
        x: a predictor.
        other: the one that it is compared with.
        positive: which rows are positive.
        groups: the subject of each row; without it each row stands alone.
        labels: relations or arms within which it is computed, then averaged.
    """
    return _estimate(*_gain(area_of, roc_area), [x, other, positive], groups, labels, widened=_of_rarer)


def spearman(
    x: Column, y: Column, *, groups: Labels = None, labels: Labels = None, fewest: int = FEWEST
) -> Estimate:
    """Correlate the ranks of two columns; None where one of them does not vary.

    Args:
        x: a column.
        y: another.
        groups: the subject of each row; without it each row stands alone.
        labels: relations or arms within which it is computed, then averaged.
        fewest: rows below which there is no value.
    """
    return _estimate(spearman_of, rank_correlation, [x, y], groups, labels, fewest=fewest)


def kappa(x: Column, y: Column, *, groups: Labels = None, labels: Labels = None) -> Estimate:
    """Measure the agreement of two classings of the same rows beyond chance (Cohen's kappa).

    Args:
        x: the class of each row, as a number.
        y: the other class of each row.
        groups: the subject of each row; without it each row stands alone.
        labels: relations or arms within which it is computed, then averaged.
    """

    def value(a: Column, b: Column) -> float | None:
        return float(cohen_kappa_score(a, b)) if len(np.unique([a, b])) > 1 else None

    return _estimate(kappa_of, value, [x, y], groups, labels)


def spearman_gain(x: Column, other: Column, y: Column, *, groups: Labels = None) -> Estimate:
    """Measure by how much one column's rank correlation with ``y`` exceeds another's.

    Args:
        x: a column.
        other: the one that it is compared with.
        y: what both are correlated with.
        groups: the subject of each row; without it each row stands alone.
    """
    return _estimate(*_gain(spearman_of, rank_correlation), [x, other, y], groups, None)


def same_sign(x: Column, y: Column, *, groups: Labels = None) -> Estimate:
    """Return the share of rows in which two columns have one sign; a zero has the sign of no other."""
    require_aligned(x, y)
    there = ~np.isnan(x * y)
    if there.sum() < FEWEST:
        return Estimate(value=None, low=None, high=None, n=int(there.sum()))
    return estimate(np.where(there, x * y > 0, np.nan), groups=groups)


def same_sign_gain(x: Column, other: Column, y: Column, *, groups: Labels = None) -> Estimate:
    """Measure in how many more rows ``x`` has the sign of ``y`` than another column has.

    Args:
        x: a column.
        other: the one that it is compared with.
        y: what both are held against.
        groups: the subject of each row; without it each row stands alone.
    """

    require_aligned(x, other, y)
    there = ~np.isnan(x * other * y)
    if there.sum() < FEWEST:
        return Estimate(value=None, low=None, high=None, n=int(there.sum()))
    gain = (x * y > 0).astype(np.float64) - (other * y > 0)
    return estimate(np.where(there, gain, np.nan), groups=groups, difference=True)


def roc_area(values: Column, positive: Shaped[ndarray, " row"]) -> float | None:
    """Return the area under the ROC curve by scikit-learn, or None where one of the two kinds is missing."""
    require_aligned(values, positive)
    right = np.asarray(positive).astype(bool)
    halves = 2 * int(right.sum()) * int((~right).sum())
    if not halves:
        return None
    # An area is a whole number of half pairs, which the sum of trapezoids misses in its last digit. By ranks,
    # for scikit-learn refuses infinite values.
    return round(float(roc_auc_score(right, rankdata(values))) * halves) / halves


def rank_correlation(x: Column, y: Column) -> float | None:
    """Return Spearman's correlation by scipy, or None where one of the two does not vary."""
    require_aligned(x, y)
    if not len(x) or min(np.ptp(x), np.ptp(y)) == 0:
        return None
    return float(spearmanr(x, y).statistic)


def _estimate(
    statistic: Callable[..., Statistic],
    value: Callable[..., float | None],
    columns: list[Column],
    groups: Labels,
    labels: Labels,
    *,
    fewest: int = FEWEST,
    exact: Callable[..., Bounds | None] | None = None,
    widened: Callable[..., float] | None = None,
    seed: int = 0,
) -> Estimate:
    """Make an estimate of a smooth statistic of columns, averaged over labels where there are some."""
    how: dict[str, Any] = {"exact": exact, "widened": widened, "fewest": fewest, "seed": seed}
    if labels is None:
        return of_rows(statistic, value, columns, groups, **how)
    codes = group_codes(labels, len(columns[0]))
    require_aligned(*columns, codes)

    def averaged(code: Labels, *some: Column) -> float | None:
        assert code is not None
        parts = [value(*(column[code == each] for column in some)) for each in np.unique(code)]
        there = [part for part in parts if part is not None]
        return float(np.mean(there)) if there else None

    def weighted(code: Labels, *some: Column) -> Statistic:
        assert code is not None
        return within(statistic, code)(*some)

    return of_rows(weighted, averaged, [codes, *columns], groups, **how)


def _gain(
    statistic: Callable[..., Statistic], value: Callable[..., float | None]
) -> tuple[Callable[..., Statistic], Callable[..., float | None]]:
    """Turn a statistic of (x, y) into the difference of those of (x, y) and (other, y)."""

    def weighted(x: Column, other: Column, y: Column) -> Statistic:
        ours, theirs = statistic(x, y), statistic(other, y)
        return lambda weights: ours(weights) - theirs(weights)

    def plain(x: Column, other: Column, y: Column) -> float | None:
        ours, theirs = value(x, y), value(other, y)
        return None if ours is None or theirs is None else ours - theirs

    return weighted, plain
