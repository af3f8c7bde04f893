"""Numbers of pretraining_sweep, each with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import linregress

from analyses.common.contrasts import half_contrasts
from analyses.common.numbers import Bounds, Tree, summarise_seeds, unpaired_difference
from analyses.experiments.pretraining_sweep.options import EXPONENT, LENGTH
from interp.stats import Estimate


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the gap at every setting, how it changes along each axis, and its slope in what is stored."""
    return summarise_seeds(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> Bounds | None:
    if path[0] in ("contrasts", "fall"):
        return (-2, 2) if path[0] == "contrasts" else None
    return (-1, 1) if "gap" in path[-1] else (0, 1)


def _one_seed(rows: pd.DataFrame) -> Tree:
    tree: Tree = {
        str(axis): {f"{x:g}": half_contrasts(some) for x, some in part.groupby("x")}
        for axis, part in rows.groupby("axis")
    }
    points = [part for axis in (LENGTH, EXPONENT) for part in tree[axis].values()]
    ends = {axis: [part[end(part, key=float)] for end in (min, max)] for axis, part in tree.items()}
    (shortest, longest), (flattest, steepest) = ends[LENGTH], ends[EXPONENT]
    keys = ("gap_known", "gap_all", "gap_attention")
    tree["contrasts"] = {
        key: {
            "shortest_minus_longest": unpaired_difference(shortest[key], longest[key]),
            "steepest_minus_flattest": unpaired_difference(steepest[key], flattest[key]),
        }
        for key in keys
    }
    tree["fall"] = {key: _fall(points, key) for key in keys}
    return tree


def _fall(points: list[Tree], key: str) -> Estimate:
    """Fit the gap against the share of facts that the base states, over settings; return minus the slope."""
    pairs = [(p["stated"].value, p[key].value) for p in points if p[key].value is not None]
    if len({stated for stated, _ in pairs}) < 3:
        return Estimate(value=None, low=None, high=None, n=0)
    stated, gap = np.array(pairs, dtype=np.float64).T
    return Estimate(value=-float(linregress(stated, gap).slope), low=None, high=None, n=len(pairs))
