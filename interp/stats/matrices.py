"""Statistics of every two columns of a table, all from the same draws: rank correlation, shared halves."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from interp.stats.bootstrap import (
    FEWEST,
    Statistic,
    bootstrap,
    drawn_estimate,
    group_codes,
    require_aligned,
    require_complete,
)
from interp.stats.ranking import rank_correlation
from interp.stats.result import Estimate
from interp.stats.weighted import shared_halves_of, spearman_matrix_of

Groups = Shaped[ndarray, " row"] | None


def spearman_matrix(values: Float[ndarray, "row column"], *, groups: Groups = None) -> list[list[Estimate]]:
    """Correlate the ranks of every two columns, all from the same draws.

    Raises:
        InputError: a row lacks a value.
    """
    require_complete(values)
    k = values.shape[1]
    found = [[rank_correlation(values[:, i], values[:, j]) for j in range(k)] for i in range(k)]
    return _matrix(spearman_matrix_of(values), np.array(found, dtype=np.float64), len(values), groups)


def shared_halves(values: Float[ndarray, "row column"], *, groups: Groups = None) -> list[list[Estimate]]:
    """Estimate the share of each column's larger half that is in each other's, 0.5 by chance.

    Rows that tie at the cut are in the half with the chance that a draw of lots would give them.

    Raises:
        InputError: a row lacks a value.
    """
    require_complete(values)
    statistic = shared_halves_of(values)
    return _matrix(statistic, statistic(np.ones((1, len(values))))[..., 0], len(values), groups)


def _matrix(
    statistic: Statistic, value: Float[ndarray, "column column"], n: int, groups: Groups
) -> list[list[Estimate]]:
    k, rows = len(value), group_codes(groups, n)
    require_aligned(np.arange(n), rows)
    if n < FEWEST:
        return [[Estimate(value=None, low=None, high=None, n=n)] * k] * k
    low, high = bootstrap(statistic, rows, cells=k * n)
    return [[_entry(value[i, j], low[i, j], high[i, j], n) for j in range(k)] for i in range(k)]


def _entry(value: float, low: float, high: float, n: int) -> Estimate:
    if math.isnan(value):
        return Estimate(value=None, low=None, high=None, n=n)
    return drawn_estimate(float(value), float(low), float(high), n)
