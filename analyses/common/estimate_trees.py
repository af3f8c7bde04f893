"""Headline numbers as trees of estimates: pooled over seeds, and plain for JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from interp.stats import Estimate, over_seeds

Tree = dict[str, Any]  # nested names down to Estimate or its dict
Bounds = tuple[float, float]
SHARE: Bounds = (0, 1)
UNBOUNDED: Bounds = (-math.inf, math.inf)


def pool_trees(
    trees: Sequence[Any],
    bounds: Callable[[tuple[str, ...]], Bounds | None] = lambda path: SHARE,
    overlap: Callable[[tuple[str, ...]], float] = lambda path: 0.0,
    path: tuple[str, ...] = (),
) -> Any:
    """Pool seeds' trees leaf by leaf, with t-intervals over seeds; one tree is returned as it is.

    A leaf that a seed lacks is left out.

    Args:
        trees: one a seed.
        bounds: says, of a leaf's path, between what its value must lie.
        overlap: says, of a leaf's path, how far the seeds' splits overlap, see :func:`over_seeds`.
        path: where in the whole tree these are.
    """
    if len(trees) == 1:
        return trees[0]
    if isinstance(trees[0], Estimate):
        return over_seeds(trees, bounds=bounds(path) or UNBOUNDED, overlap=overlap(path))
    shared = [key for key in trees[0] if all(key in tree for tree in trees)]
    return {key: pool_trees([tree[key] for tree in trees], bounds, overlap, (*path, key)) for key in shared}


def tree_to_json(tree: Mapping[str, Any] | Estimate) -> Any:
    """Turn estimates into JSON-able dicts."""
    if isinstance(tree, Estimate):
        return {"value": tree.value, "low": tree.low, "high": tree.high, "n": tree.n}
    return {key: tree_to_json(part) for key, part in tree.items()}
