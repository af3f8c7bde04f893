"""From rows to trees of numbers with intervals: per seed first, then pooled over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interp import stats
from interp.stats import Estimate, estimate, over_seeds, overlap_of
from interp.stats.bootstrap import FEWEST

Tree = dict[str, Any]  # nested names down to Estimate or its dict
Bounds = tuple[float, float]
SHARE: Bounds = (0, 1)
UNBOUNDED: Bounds = (-math.inf, math.inf)


def summarise_seeds(
    rows: pd.DataFrame,
    one_seed: Callable[[pd.DataFrame], Tree],
    bounds: Callable[[tuple[str, ...]], Bounds | None],
    overlap: Callable[[tuple[str, ...]], float] | None = None,
) -> dict[str, Any]:
    """Sum up each seed's rows and pool them: t-intervals over seeds, or one seed's own over subjects.

    Args:
        rows: of all seeds.
        one_seed: sums up one seed's.
        bounds: says, of a number's path, between what it must lie.
        overlap: says, of a number's path, how far the seeds' splits overlap; as all rows tell unless given.

    Returns:
        The pooled numbers, and each seed's own under ``seeds``.
    """
    of_all = overlap_of(rows)
    trees = {str(seed): one_seed(some) for seed, some in rows.groupby("seed")}
    return {
        **tree_to_json(_pooled(list(trees.values()), bounds, overlap or (lambda path: of_all))),
        "seeds": tree_to_json(trees),
    }


def _pooled(
    trees: Sequence[Any],
    bounds: Callable[[tuple[str, ...]], Bounds | None],
    overlap: Callable[[tuple[str, ...]], float],
    path: tuple[str, ...] = (),
) -> Any:
    """Pool seeds' trees leaf by leaf; a leaf that a seed lacks is left out, and one tree stays as it is."""
    if len(trees) == 1:
        return trees[0]
    if isinstance(trees[0], Estimate):
        return over_seeds(trees, bounds=bounds(path) or UNBOUNDED, overlap=overlap(path))
    shared = [key for key in trees[0] if all(key in tree for tree in trees)]
    return {key: _pooled([tree[key] for tree in trees], bounds, overlap, (*path, key)) for key in shared}


def tree_to_json(tree: Mapping[str, Any] | Estimate) -> Any:
    """Turn estimates into JSON-able dicts."""
    if isinstance(tree, Estimate):
        return {"value": tree.value, "low": tree.low, "high": tree.high, "n": tree.n}
    return {key: tree_to_json(part) for key, part in tree.items()}


def mean(rows: pd.DataFrame, column: str, *, difference: bool = False, share: bool = True) -> Estimate:
    """Average a column over facts, with an interval over subjects.

    Args:
        rows: a row a fact, with its subject.
        column: what is averaged.
        difference: whether values are paired differences in [-1, 1].
        share: whether values of 0 and 1 are wrong and right; False for nats and counts.
    """
    return mean_of(rows[column], rows, difference=difference, share=share)


def mean_of(
    values: pd.Series[Any], rows: pd.DataFrame, *, difference: bool = False, share: bool = True
) -> Estimate:
    """Average values that go with some rows, as :func:`mean` does a column of theirs.

    Args:
        values: a value a row.
        rows: a row a fact, with its subject.
        difference: as in :func:`mean`.
        share: as in :func:`mean`.
    """
    numbers = values.to_numpy(dtype=np.float64)
    return estimate(numbers, groups=rows["subject"].to_numpy(), difference=difference, share=share)


def paired_difference(
    rows: pd.DataFrame, first: Mapping[str, Any], second: Mapping[str, Any], column: str
) -> Estimate:
    """Average, over the facts that both have, what one setting's rows have more of than another's.

    Args:
        rows: a row a fact and setting.
        first: columns and their values that make the one setting.
        second: those of the other, which is subtracted.
        column: what is compared.
    """
    a, b = (_where(rows, these).set_index("fact_id") for these in (first, second))
    shared = a.index.intersection(b.index)
    made = a.loc[shared, ["subject"]].assign(
        change=a.loc[shared, column].astype(float) - b.loc[shared, column].astype(float)
    )
    return mean(made, "change", difference=True)


def spearman(
    rows: pd.DataFrame, x: str, y: str, *, groups: str = "subject", within: str | None = None
) -> Estimate:
    """Correlate the ranks of two columns.

    Args:
        rows: what is correlated; a row that lacks either value is left out.
        x: the one column.
        y: the other.
        groups: the column whose labels the interval draws whole.
        within: a column in each of whose labels ranks are correlated, and averaged over them.
    """
    labels = None if within is None else rows[within].to_numpy()
    return stats.spearman(*columns(rows, x, y), groups=rows[groups].to_numpy(), labels=labels)


def area(
    rows: pd.DataFrame, x: str, positive: str, *, groups: str = "subject", within: str | None = None
) -> Estimate:
    """Measure how likely a positive row has the larger ``x``: the area under the ROC curve.

    Args:
        rows: what is compared.
        x: the predictor's column.
        positive: the column that says which rows are positive.
        groups: the column whose labels the interval draws whole.
        within: a column in each of whose labels rows are compared, and averaged over them.
    """
    labels = None if within is None else rows[within].to_numpy()
    held, subjects = columns(rows, x, positive), rows[groups].to_numpy()
    return stats.auroc(*held, groups=subjects, labels=labels, fewest=FEWEST)


def area_gain(
    rows: pd.DataFrame, x: str, other: str, positive: str, *, within: str | None = None
) -> Estimate:
    """Measure how much larger one predictor's area is than another's, on the same rows.

    Args:
        rows: what is compared.
        x: the one predictor's column.
        other: the other's, whose area is subtracted.
        positive: the column that says which rows are positive.
        within: a column in each of whose labels rows are compared, and averaged over them.
    """
    labels = None if within is None else rows[within].to_numpy()
    held = columns(rows, x, other, positive)
    return stats.auroc_gain(*held, groups=rows["subject"].to_numpy(), labels=labels)


def same_sign(rows: pd.DataFrame, x: str, y: str) -> Estimate:
    """Return the share of rows in which two columns have one sign; a zero has the sign of no other."""
    return stats.same_sign(*columns(rows, x, y), groups=rows["subject"].to_numpy())


def columns(rows: pd.DataFrame, *names: str) -> list[np.ndarray]:
    """Take columns as floats, NaN where a value is missing."""
    return [rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in names]


def unpaired_difference(first: Estimate, second: Estimate) -> Estimate:
    """Subtract two numbers of one seed that are not paired by fact; their interval comes from seeds."""
    if first.value is None or second.value is None:
        return Estimate(value=None, low=None, high=None, n=0)
    return Estimate(value=first.value - second.value, low=None, high=None, n=min(first.n, second.n))


def _where(rows: pd.DataFrame, these: Mapping[str, Any]) -> pd.DataFrame:
    for column, value in these.items():
        rows = rows[rows[column] == value]
    return rows
