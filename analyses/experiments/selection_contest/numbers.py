"""Numbers of the contest: each set's accuracy, and what it is ahead of others by on the same held-out facts.

``sets`` and ``ahead`` nest by method, budget, score and share. All numbers are of held-out facts; *known* are
those that the base states in every form, ``q1`` to ``q4`` quartiles of popularity, most popular first.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyses.common.numbers import Tree, mean, paired_difference, summarise_seeds
from analyses.experiments.selection_contest.setups import HALF, POPULAR, RANDOM, WHOLE, WITHOUT_LABELS
from interp.stats import Estimate
from interp.verdicts.diagnosis import ERASED, GENERIC, RETAINED, STORED

PARTS = ("all", "known", "q1", "q2", "q3", "q4")
LOST = (*STORED, ERASED)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return each set's accuracy, what it is ahead of popular, random and all facts by, and its verdicts.

    The winner that a seed is judged by was chosen on the others.
    """
    winners = best_score_elsewhere(frame)
    return summarise_seeds(frame, lambda rows: _one_seed(rows, winners), _bounds)


def best_score_elsewhere(frame: pd.DataFrame) -> dict[int, str]:
    """For each seed, the label-free score whose half is best over all held-out facts of the other seeds.

    One seed alone has no others, and no score is chosen for it.
    """
    method = frame["method"].iloc[0]
    rows = frame[
        (frame["keep"] == HALF)
        & (frame["budget"] == "steps")
        & (frame["method"] == method)
        & frame["score"].isin(WITHOUT_LABELS)
    ]
    table = rows.groupby(["seed", "score"])["correct"].mean().unstack("score")
    others = {seed: table.drop(index=seed) for seed in table.index if len(table) > 1}
    return {int(seed): str(some.mean().idxmax()) for seed, some in others.items()}


def part_of(rows: pd.DataFrame, part: str) -> pd.DataFrame:
    """Keep the held-out facts of one part."""
    if part == "all":
        return rows
    return rows[rows["known"]] if part == "known" else rows[rows["quartile"] == int(part[1:])]


def _one_seed(rows: pd.DataFrame, winners: dict[int, str]) -> Tree:
    tree: Tree = {"sets": {}, "ahead": {}, "winner": {}}
    for (method, budget), some in rows.groupby(["method", "budget"], sort=False):
        # All facts at as many epochs are all facts at as many steps.
        whole = rows[(rows["method"] == method) & (rows["score"] == WHOLE)]
        for (score, keep), own in some.groupby(["score", "keep"], sort=False):
            place = (str(method), str(budget), str(score), f"{keep:g}")
            _put(tree["sets"], place, _set(own))
            rivals = {WHOLE: whole} | {
                name: some[(some["score"] == name) & (some["keep"] == keep)] for name in (POPULAR, RANDOM)
            }
            _put(
                tree["ahead"], place, _ahead(own, {n: r for n, r in rivals.items() if n != score and len(r)})
            )
    seed, method = int(rows["seed"].iloc[0]), str(rows["method"].iloc[0])
    halves = tree["ahead"].get(method, {}).get("steps", {})
    if seed in winners:
        tree["winner"] = halves[winners[seed]][f"{HALF:g}"]
    return tree


def _set(rows: pd.DataFrame) -> Tree:
    tree: Tree = {part: mean(part_of(rows, part), "correct") for part in PARTS}
    overlap, size = float(rows["popular"].iloc[0]), int(rows["size"].iloc[0])
    tree["popular"] = Estimate(value=overlap, low=None, high=None, n=size)
    if "verdict" in rows and rows["verdict"].notna().any():
        lost = rows[rows["verdict"].isin(LOST)]
        known = rows[rows["verdict"].isin((*LOST, RETAINED, GENERIC))]
        tree["lost"] = mean(known.assign(lost=known["verdict"].isin(LOST)), "lost")
        tree["stored"] = mean(lost.assign(is_so=lost["verdict"].isin(STORED)), "is_so")
    return tree


def _ahead(own: pd.DataFrame, rivals: dict[str, pd.DataFrame]) -> Tree:
    tree: Tree = {}
    for name, rival in rivals.items():
        both = pd.concat([own.assign(side="own"), rival.assign(side="rival")], ignore_index=True)
        tree[name] = {
            part: paired_difference(part_of(both, part), {"side": "own"}, {"side": "rival"}, "correct")
            for part in PARTS
        }
    return tree


def _put(tree: Tree, place: tuple[str, ...], value: Tree) -> None:
    for name in place[:-1]:
        tree = tree.setdefault(name, {})
    tree[place[-1]] = value


def _bounds(path: tuple[str, ...]) -> tuple[float, float]:
    return (0, 1) if path[0] == "sets" else (-1, 1)
