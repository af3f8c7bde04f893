"""Numbers of depth_sweep, each with its interval."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyses.common.contrasts import half_contrasts
from analyses.common.numbers import Bounds, Tree, paired_difference, summarise_seeds, unpaired_difference
from analyses.common.summary import recovery


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy, imbalance by layer and recovery at every depth, and how deep and shallow differ."""
    return summarise_seeds(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> Bounds:
    if path[0] == "contrasts":
        return (-2, 2)
    signed = any("gap" in part or part in ("imbalance", "difference") for part in path)
    return (-1, 1) if signed else (0, 1)


def _one_seed(rows: pd.DataFrame) -> Tree:
    tree: Tree = {"depths": {}}
    for depth in sorted(set(rows["layers"].tolist())):
        some = rows[rows["layers"] == depth]
        by_layer = {
            str(i): paired_difference(some, {"arm": "top"}, {"arm": "bottom"}, f"attention_{i}")
            for i in range(depth)
        }
        part = {**half_contrasts(some), "imbalance": by_layer, "recovery": recovery(some)}
        part["gap_front"], part["gap_back"] = (_half(some, depth, front=front) for front in (True, False))
        tree["depths"][str(depth)] = part
    shallow, deep = (tree["depths"][str(end(map(int, tree["depths"])))] for end in (min, max))
    tree["contrasts"] = {
        key: unpaired_difference(deep[key], shallow[key]) for key in ("gap_known", "gap_attention")
    } | {"recovery": unpaired_difference(deep["recovery"]["difference"], shallow["recovery"]["difference"])}
    return tree


def _half(rows: pd.DataFrame, depth: int, *, front: bool) -> Any:
    """Compare the halves' attention averaged over the first layers, or the last; one layer is both."""
    cut = -(-depth // 2)
    layers = range(cut) if front else range(depth - cut, depth)
    mean = rows[[f"attention_{i}" for i in layers]].mean(axis=1)
    return paired_difference(rows.assign(mean=mean), {"arm": "top"}, {"arm": "bottom"}, "mean")
