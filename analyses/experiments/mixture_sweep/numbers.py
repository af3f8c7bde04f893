"""Numbers of mixture_sweep, each with its interval."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyses.common.numbers import Tree, mean, paired_difference, summarise_seeds
from analyses.experiments.mixture_sweep.cells import BY, FIRST, LAST, SHUFFLED
from interp.stats import Estimate

TESTS = ("popular", "unpopular")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy by mixture and by order, what extremes differ by, and what the chosen share gains."""
    frame = frame.assign(test=["popular" if q <= 2 else "unpopular" for q in frame["quartile"]])
    best = {test: _best_elsewhere(frame[frame["by"] == BY[0]], test) for test in TESTS}
    return summarise_seeds(frame, lambda rows: _one_seed(rows, best), _bounds)


def _bounds(path: tuple[str, ...]) -> tuple[float, float]:
    return (-1, 1) if path[0] in ("contrasts", "gain", "placebo") else (0, 1)


def _best_elsewhere(frame: pd.DataFrame, test: str) -> dict[int, float]:
    """For each seed, the mixture (but the largest share) that is best on the others, if there are any."""
    rows = frame[(frame["test"] == test) & (frame["order"] == SHUFFLED) & frame["known"]]
    table = rows.groupby(["seed", "share"])["correct"].mean().unstack("share")
    table = table.drop(columns=table.columns.max())
    others = {seed: table.drop(index=seed) for seed in table.index if len(table) > 1}
    return {int(seed): float(str(some.mean().idxmax())) for seed, some in others.items()}


def _one_seed(rows: pd.DataFrame, best: dict[str, dict[int, float]]) -> Tree:
    seed = int(rows["seed"].iloc[0])
    shares = sorted(rows["share"].unique())
    tree: Tree = {"shares": {}, "orders": {}, "contrasts": {}, "gain": {}, "placebo": {}}
    dealt, rows = rows[rows["by"] == BY[1]], rows[rows["by"] == BY[0]]
    for test in TESTS:
        all_of = rows[rows["test"] == test]
        known = all_of[all_of["known"]]
        mixed = known[known["order"] == SHUFFLED]
        for share in shares:
            here = all_of[(all_of["share"] == share) & (all_of["order"] == SHUFFLED)]
            tree["shares"].setdefault(f"{share:g}", {})[test] = {
                "accuracy": mean(here, "correct"),
                "accuracy_known": mean(here[here["known"]], "correct"),
                "subject_attention": mean(here, "subject_attention"),
            }
        for order in (SHUFFLED, FIRST, LAST):
            here = known[(known["share"] == 0.5) & (known["order"] == order)]
            tree["orders"].setdefault(order.replace(" ", "_"), {})[test] = mean(here, "correct")
        ends = {"share": shares[-1]}, {"share": shares[0]}
        tree["contrasts"][f"all_minus_none_{test}"] = paired_difference(mixed, *ends, "correct")
        tree["contrasts"][f"all_minus_none_{test}_all"] = paired_difference(
            all_of[all_of["order"] == SHUFFLED], *ends, "correct"
        )
        if len(dealt):
            some = dealt[dealt["known"] & (dealt["test"] == test)]
            name = f"all_minus_none_{test}"
            tree["placebo"][name] = paired_difference(some, {"share": 1.0}, {"share": 0.0}, "correct")
        for order in (FIRST, LAST):
            name = f"{order.replace(' ', '_')}_minus_shuffled_{test}"
            tree["contrasts"][name] = paired_difference(
                known[known["share"] == 0.5], {"order": order}, {"order": SHUFFLED}, "correct"
            )
        if (chosen := best[test].get(seed)) is not None:
            ends = {"share": chosen}, {"share": shares[-1]}
            tree["gain"][test] = paired_difference(mixed, *ends, "correct")
            tree.setdefault("best_mixture", {})[test] = Estimate(value=chosen, low=None, high=None, n=1)
    return tree
