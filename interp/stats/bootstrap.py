"""The bootstrap over subjects: any statistic of some columns, computed anew from drawn subjects' facts.

As many subjects are drawn as there are, with replacement; all facts of those drawn are taken, and the same
statistic is computed of them. So the interval is of the very number that it stands beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Shaped

from interp.stats.estimates import Estimate, spanning

if TYPE_CHECKING:
    from numpy import ndarray

FEWEST = 3  # rows below which a rank says nothing
RESAMPLES = 200


def bootstrapped(
    statistic: Callable[..., float | None],
    values: Sequence[Shaped[ndarray, " row"]],
    groups: Shaped[ndarray, " row"],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    fewest: int = 1,
    seed: int = 0,
) -> Estimate:
    """Compute a statistic of some columns, with a percentile bootstrap over ``groups``.

    Rows that lack a value of some column (NaN) are left out and do not count in ``n``.

    Args:
        statistic: takes the columns; may return None (or NaN) where it is not defined. Draws for which it
            is not are left out.
        values: the columns, a value a row each.
        groups: the subject of each row.
        confidence: the share of such intervals that should hold the truth.
        resamples: how many draws; none gives no interval.
        fewest: rows below which the statistic says nothing: there is no value.
        seed: of the draws.
    """
    present = ~np.any([_missing(column) for column in values], axis=0)
    columns, groups = [np.asarray(column)[present] for column in values], np.asarray(groups)[present]
    n = len(groups)
    if n < fewest:
        return Estimate(value=None, low=None, high=None, n=n)
    value = statistic(*columns)
    if value is None or math.isnan(value):
        return Estimate(value=None, low=None, high=None, n=n)
    drawn = []
    for some in redrawn(groups, resamples=resamples, seed=seed):
        again = statistic(*(column[some] for column in columns))
        drawn += [] if again is None or math.isnan(again) else [again]
    if not drawn:
        return Estimate(value=value, low=None, high=None, n=n)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return spanning(value, float(low), float(high), n)


def _missing(column: Shaped[ndarray, " row"]) -> Shaped[ndarray, " row"]:
    held = np.asarray(column)
    return np.isnan(held) if held.dtype.kind == "f" else np.zeros(len(held), bool)


def redrawn(
    groups: Shaped[ndarray, " row"], *, resamples: int, seed: int = 0
) -> Iterator[Int[ndarray, " drawn"]]:
    """Yield the row numbers of each bootstrap draw of whole groups; none where there is but one group."""
    _, member = np.unique(groups, return_inverse=True)
    order, ends = np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))
    parts = np.split(order, ends[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(resamples if len(parts) > 1 else 0):
        yield np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))])
