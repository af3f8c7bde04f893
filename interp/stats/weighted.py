"""Mean, median, AUROC, Spearman's correlation and halves in common of weighted facts, for many draws at once.

Each function takes columns and returns a function of weights, Float [draw row] -> Float [*cell draw]: what
the statistic would be if each row stood there as often as its weight says. Rows are sorted once, not once a
draw. With whole numbers as weights they equal scikit-learn's, scipy's and numpy's of the repeated rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from einops import einsum
from jaxtyping import Float, Shaped
from numpy import ndarray

from interp.stats.bootstrap import Statistic


def mean_of(x: Float[ndarray, " row"]) -> Statistic:
    """Average a column."""
    return lambda weights: weights @ x / weights.sum(1)


def median_of(x: Float[ndarray, " row"]) -> Statistic:
    """Take the median of a column, between the two middle rows where their number is even."""
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    return lambda weights: _middle(np.broadcast_to(ordered, weights.shape), weights[:, order])


def _middle(
    ordered: Float[ndarray, "draw row"], weights: Float[ndarray, "draw row"]
) -> Float[ndarray, " draw"]:
    reached = np.cumsum(weights, axis=1)
    n = reached[:, -1:]
    middle = ((reached >= np.floor(n / 2 + part)).argmax(1) for part in (0.5, 1))
    low, high = (np.take_along_axis(ordered, at[:, None], axis=1)[:, 0] for at in middle)
    return (low + high) / 2


def area_of(x: Float[ndarray, " row"], positive: Shaped[ndarray, " row"]) -> Statistic:
    """Measure the area under the ROC curve; NaN where a draw lacks one of the two kinds."""
    order, starts, _ = _ties(x)
    right = positive.astype(bool)[order]

    def area(weights: Float[ndarray, "draw row"]) -> Float[ndarray, " draw"]:
        ordered = weights[:, order]
        above, below = (np.add.reduceat(ordered * kind, starts, axis=1) for kind in (right, ~right))
        beaten = np.cumsum(below, axis=1) - below / 2  # the negatives below, and half of those that tie
        with np.errstate(invalid="ignore"):
            return (above * beaten).sum(1) / (above.sum(1) * below.sum(1))

    return area


def kappa_of(x: Float[ndarray, " row"], y: Float[ndarray, " row"]) -> Statistic:
    """Measure how far two classings agree beyond chance; NaN where both give one class alone."""
    classes = np.unique([x, y])
    ours, theirs = (np.array([column == each for each in classes], np.float64) for column in (x, y))

    def kappa(weights: Float[ndarray, "draw row"]) -> Float[ndarray, " draw"]:
        n = weights.sum(1)
        agreed = weights @ (x == y) / n
        chance = ((weights @ ours.T) * (weights @ theirs.T)).sum(1) / n**2
        with np.errstate(invalid="ignore"):
            return (agreed - chance) / np.where(chance < 1, 1 - chance, np.nan)

    return kappa


def spearman_of(*columns: Float[ndarray, " row"]) -> Statistic:
    """Correlate the ranks of two columns; NaN where one of them does not vary in a draw."""
    matrix = spearman_matrix_of(np.stack(columns, axis=1))
    return lambda weights: matrix(weights)[0, 1]


def spearman_matrix_of(values: Float[ndarray, "row column"]) -> Statistic:
    """Correlate the ranks of every two columns, Float [column column draw]."""
    ranks = [_midranks(column) for column in values.T]

    def correlations(weights: Float[ndarray, "draw row"]) -> Float[ndarray, "column column draw"]:
        n = weights.sum(1, keepdims=True)
        held = np.stack([rank(weights) for rank in ranks])
        held -= (weights * held).sum(-1, keepdims=True) / n
        products = einsum(weights * held, held, "a draw row, b draw row -> a b draw")
        spread = np.sqrt(einsum(products, "a a draw -> a draw"))
        with np.errstate(invalid="ignore", divide="ignore"):
            found = products / (spread[:, None] * spread[None])
        return np.where((spread[:, None] > 0) & (spread[None] > 0), found, np.nan)

    return correlations


def shared_halves_of(values: Float[ndarray, "row column"]) -> Statistic:
    """Return the expected share of each column's larger half that is in each other's, [column column draw].

    Rows that tie at the cut are in the half with the chance that a draw of lots would give them.
    """
    tied = [_ties(-column) for column in values.T]

    def shared(weights: Float[ndarray, "draw row"]) -> Float[ndarray, "column column draw"]:
        half = weights.sum(1, keepdims=True) / 2
        chances = []
        for order, starts, place in tied:
            size = np.add.reduceat(weights[:, order], starts, axis=1)
            left = half - (np.cumsum(size, axis=1) - size)
            chances.append(np.clip(left / np.maximum(size, 1), 0.0, 1.0)[:, place])
        held = np.stack(chances)
        both = einsum(weights * held, held, "a draw row, b draw row -> a b draw")
        return both / half[:, 0]

    return shared


def within(statistic: Callable[..., Statistic], labels: Shaped[ndarray, " row"]) -> Callable[..., Statistic]:
    """Compute a statistic within each label (relation, arm) and average; undefined ones are left out."""
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def of_columns(*columns: Shaped[ndarray, " row"]) -> Statistic:
        parts = [(rows, statistic(*(column[rows] for column in columns))) for rows in members]

        def averaged(weights: Float[ndarray, "draw row"]) -> Float[ndarray, " draw"]:
            return np.nanmean([part(weights[:, rows]) for rows, part in parts], axis=0)

        return averaged

    return of_columns


def _ties(x: Float[ndarray, " row"]) -> tuple[Shaped[ndarray, " row"], ...]:
    """Return the order of the rows, where in it each distinct value begins, and which one each row has."""
    order = np.argsort(x, kind="stable")
    ordered = x[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]]
    place = np.empty(len(x), dtype=np.int64)
    place[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), place


def _midranks(x: Float[ndarray, " row"]) -> Statistic:
    order, starts, place = _ties(x)

    def ranks(weights: Float[ndarray, "draw row"]) -> Float[ndarray, "draw row"]:
        size = np.add.reduceat(weights[:, order], starts, axis=1)
        return (np.cumsum(size, axis=1) - size / 2)[:, place]

    return ranks
