"""The bootstrap over subjects: the interval of any statistic, from facts of subjects drawn with replacement.

1. Draw as many subjects as there are, with replacement, and take all facts of those drawn. A fact then counts
   as often as its subject was drawn: a draw is a row of *weights*, and a statistic is a function of weights.
2. Compute the same statistic of every draw, so that the interval is of the very number it stands beside.
3. Take percentiles of the draws, corrected for bias and skew (BCa, by scipy), or uncorrected where BCa
   does not apply: a draw is undefined, the statistic is not smooth (a median), or there are so many subjects
   that the correction, of order 1/n, is smaller than the draws' own noise.
4. Give no interval where draws tell of none: there are fewer than five subjects, or all draws are equal.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from scipy import stats

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from interp.stats.result import Estimate, make_estimate

Statistic = Callable[[Float[ndarray, "draw row"]], Float[ndarray, "*cell draw"]]
Bounds = tuple[float | None, float | None]
Method = Literal["BCa", "percentile"]
RESAMPLES = 2000
FEWEST = 3  # rows below which a rank says nothing
FEWEST_GROUPS = 5  # below which there are so few draws that intervals hold the truth far too seldom
MOST = 1000  # groups above which the correction of BCa is below the draws' noise, and its jackknife slow
_AT_ONCE = 2**22  # weights held at a time, which bounds memory
_ROUNDING = 1e-12


def bootstrap(
    statistic: Statistic,
    groups: Shaped[ndarray, " row"],
    *,
    cells: int = 1,
    confidence: float = 0.95,
    method: Method = "BCa",
    seed: int = 0,
) -> tuple[Float[ndarray, "*cell"], Float[ndarray, "*cell"]]:
    """Return the lower and upper bounds of a statistic; NaN where there are fewer than five groups.

    Args:
        statistic: takes weights, Float [draw row], and returns Float [*cell draw], NaN where it is undefined;
            draws for which it is are left out.
        groups: the subject of each row.
        cells: how many numbers the statistic returns a draw, to bound memory.
        confidence: the share of such intervals that should hold the truth.
        method: "BCa" for smooth statistics, else "percentile".
        seed: of the draws.
    """
    _, member = np.unique(groups, return_inverse=True)
    k = int(member.max()) + 1
    value = np.asarray(statistic(np.ones((1, len(member)))))
    if k < FEWEST_GROUPS:
        nothing = np.full(value.shape[:-1], np.nan)
        return nothing, nothing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # of undefined draws
        made = stats.bootstrap(
            (np.arange(k),),
            partial(_statistic_of_draws, statistic, member, value),
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=int(np.clip(_AT_ONCE // max(len(member), cells), 1, RESAMPLES)),
            confidence_level=confidence,
            method=method if k <= MOST else "percentile",
            rng=generator(seed, "bootstrap"),
        )
        tail = 50 * (1 - confidence)
        plain = np.nanpercentile(made.bootstrap_distribution, [tail, 100 - tail], axis=-1)
    bounds = made.confidence_interval
    low, high = (np.where(np.isnan(b), p, b) for b, p in zip((bounds.low, bounds.high), plain, strict=True))
    return low, high


def _statistic_of_draws(
    statistic: Statistic,
    member: Int[ndarray, " row"],
    value: Float[ndarray, "*cell draw"],
    drawn: Int[ndarray, "*draw group"],
    axis: int = -1,
) -> Float[ndarray, ...]:
    """Compute a statistic of draws of groups, each as often as it was drawn."""
    lines = drawn.reshape(-1, drawn.shape[-1])  # scipy gives the sample itself as one line without draws
    k = int(member.max()) + 1
    places = lines + k * np.arange(len(lines))[:, None]
    times = np.bincount(places.ravel(), minlength=k * len(lines)).reshape(len(lines), k)
    found = statistic(times[:, member].astype(np.float64))
    # BCa counts the draws below the value and half of those equal to it: rounding must not decide which.
    most = np.abs(found).max(-1, keepdims=True, where=np.isfinite(found), initial=0.0)
    near = np.abs(found - value) <= _ROUNDING * most
    found = np.where(near, value, found)
    return found if drawn.ndim > 1 else found[..., 0]


def of_rows(
    statistic: Callable[..., Statistic],
    value: Callable[..., float | None],
    columns: Sequence[Shaped[ndarray, " row"]],
    groups: Shaped[ndarray, " row"] | None,
    *,
    exact: Callable[..., Bounds | None] | None = None,
    widened: Callable[..., float] | None = None,
    fewest: int = FEWEST,
    confidence: float = 0.95,
    method: Method = "BCa",
    seed: int = 0,
) -> Estimate:
    """Compute a statistic of some columns, with a bootstrap over ``groups``.

    Rows that lack a value of some column (NaN) are left out and do not count in ``n``.

    Args:
        statistic: makes, of the columns, the statistic as a function of weights.
        value: computes it of the columns as they are; None (or NaN) where it is not defined.
        columns: a value a row each.
        groups: the subject of each row; without it each row stands alone.
        exact: returns bounds, of groups, value and columns, where draws would collapse; None elsewhere.
        widened: returns, of groups and columns, a larger confidence for few groups; 1 for no interval.
        fewest: rows below which the statistic says nothing: there is no value.
        confidence: the share of such intervals that should hold the truth.
        method: see :func:`bootstrap`.
        seed: of the draws.

    Raises:
        InputError: columns of different lengths, or a row without its group.
    """
    labels = group_codes(groups, len(columns[0]))
    require_aligned(*columns, labels)
    present = ~np.any([_missing(column) for column in columns], axis=0)
    kept, labels = [np.asarray(column)[present] for column in columns], labels[present]
    found = value(*kept) if len(labels) >= max(fewest, 1) else None
    if found is None or math.isnan(found):
        return Estimate(value=None, low=None, high=None, n=len(labels))
    if exact is not None and (bounds := exact(labels, found, *kept)) is not None:
        return make_estimate(found, *bounds, len(labels))
    confidence = widened(labels, *kept) if widened else confidence
    if confidence >= 1:
        return Estimate(value=found, low=None, high=None, n=len(labels))
    low, high = bootstrap(statistic(*kept), labels, confidence=confidence, method=method, seed=seed)
    if method == "percentile":  # of a median, whose draws are rightly equal where most values are
        return make_estimate(found, float(low), float(high), len(labels))
    return drawn_estimate(found, float(low), float(high), len(labels))


def expanded_confidence(groups: int, confidence: float = 0.95) -> float:
    """Return the confidence at which draws of few groups are cut to hold the truth as often as wanted.

    Draws of n groups vary by (n - 1) / n too little, and as a normal where t has heavier tails: percentiles
    are taken further out by both (Hesterberg 2015, *What Teachers Should Know about the Bootstrap*, expanded
    percentile interval). It is 1, for no interval, of fewer than five groups.
    """
    if groups < FEWEST_GROUPS:
        return 1.0
    away = math.sqrt(groups / (groups - 1)) * stats.t.ppf((1 + confidence) / 2, groups - 1)
    return float(1 - 2 * stats.norm.sf(away))


def drawn_estimate(value: float, low: float, high: float, n: int) -> Estimate:
    """Make an estimate of bounds that were drawn; where all draws were equal they tell of no interval.

    Args:
        value: the number.
        low: its lower bound; NaN for none.
        high: its upper bound.
        n: what it rests on.
    """
    return make_estimate(value, None if low == high else low, high, n)


def group_codes(groups: Shaped[ndarray, " row"] | None, rows: int) -> Int[ndarray, " row"]:
    """Number the groups of rows; without groups each row stands alone.

    Raises:
        InputError: a row has none.
    """
    if groups is None:
        return np.arange(rows)
    labels = np.asarray(groups)
    if missing := int(_missing(labels).sum()):
        raise InputError(f"groups: {missing} of {len(labels)} rows have none; name the subject of each row")
    # Names of several types have no order of their own.
    return np.unique(labels.astype(str) if labels.dtype.kind == "O" else labels, return_inverse=True)[1]


def require_aligned(*columns: Shaped[ndarray, "*row"]) -> None:
    """Refuse columns that are not of the same rows, as their lengths tell.

    Raises:
        InputError: says how many rows each has, or that one is a table.
    """
    if odd := [np.shape(column) for column in columns if np.ndim(column) != 1]:
        raise InputError(f"a column of shape {odd[0]}: give one number a row")
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        listed = ", ".join(map(str, lengths))
        raise InputError(f"columns (values, groups, labels) of {listed} rows: give each a value a row")


def require_complete(values: Float[ndarray, "row column"]) -> None:
    """Refuse a table in which a value is missing.

    Raises:
        InputError: says of how many rows.
    """
    if odd := int(np.isnan(np.asarray(values, np.float64)).any(1).sum()):
        raise InputError(f"{odd} of {len(values)} rows lack a value of some column; leave those rows out")


def _missing(column: Shaped[ndarray, " row"]) -> Shaped[ndarray, " row"]:
    return np.asarray(pd.isna(np.asarray(column)))
