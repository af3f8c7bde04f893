"""From rows to what each cure restores and costs, per seed and over seeds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyses.common.numbers import Tree, mean, paired_difference, summarise_seeds
from analyses.experiments.mitigations.strength import ALLOWED
from analyses.experiments.mitigations.treatments import CURES, HELD_OUT, NONE, PLACEBO_OF, STATEMENTS, TRAINED
from interp.verdicts.diagnosis import STORED

GOAL = 0.5  # of the lost facts that are still stored, which a cure is to restore
OPEN = ("statements", "statements_change")  # nats, without bounds
CHOSEN = ("restored", "rest", "new")
CHANGES = ("rest", "new", "all_change", "beyond")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return by cure what it restores and costs, and the same of the cure chosen on the other seeds.

    ``beyond`` is what a cure restores beyond its placebo, a paired difference over stored lost facts.
    """
    marked = with_uncured(frame)
    best = best_elsewhere(marked)
    return summarise_seeds(marked, lambda rows: _one_seed(rows, best), _bounds)


def with_uncured(frame: pd.DataFrame) -> pd.DataFrame:
    """Add to every row what the uncured arm answered, and its verdict on held-out facts."""
    keys = ["seed", "group", "fact_id"]
    columns = [*keys, "correct", "log_prob", "verdict"]
    uncured = frame.loc[frame["cure"] == NONE, columns]
    names = {"correct": "before", "log_prob": "log_prob_before", "verdict": "verdict"}
    return frame.drop(columns="verdict").merge(uncured.rename(columns=names), on=keys, validate="m:1")


def best_elsewhere(marked: pd.DataFrame) -> dict[int, str]:
    """For each seed, the cure that restores most on the others, of those that cost what is allowed there.

    That is: of the other held-out facts, and of what was newly learned. A cure that failed on a seed cannot
    be taken there, and is not taken for any. One seed alone has no others, and nothing is chosen for it.
    """
    rows = marked[marked["cure"].isin(CURES)]
    rows = rows.assign(change=rows["correct"].astype(float) - rows["before"].astype(float))
    held, own = rows[rows["group"] == HELD_OUT], rows[(rows["group"] == TRAINED) & ~rows["known"]]
    lost = held["verdict"].isin(STORED)
    parts = {"restored": (held[lost], "correct"), "rest": (held[~lost], "change"), "new": (own, "change")}
    tables = {
        name: some.groupby(["seed", "cure"])[column].mean().unstack("cure").dropna(axis=1)
        for name, (some, column) in parts.items()
    }
    chosen = {}
    seeds = sorted(marked["seed"].unique())
    for seed in seeds if len(seeds) > 1 else ():
        others = {name: table.drop(index=seed, errors="ignore").mean() for name, table in tables.items()}
        cost = others["rest"].combine(others["new"], min)
        fine = others["restored"].index.intersection(cost[cost >= -ALLOWED].index)
        chosen[int(seed)] = str(others["restored"].loc[fine].idxmax()) if len(fine) else NONE
    return chosen


def _one_seed(rows: pd.DataFrame, best: dict[int, str]) -> Tree:
    cures: Tree = {str(cure): _one(some) for cure, some in rows.groupby("cure", sort=False)}
    taken: Tree = cures.get(best.get(int(rows["seed"].iloc[0]), ""), {})
    lost = rows[(rows["group"] == HELD_OUT) & rows["verdict"].isin(STORED)]
    for cure, placebo in PLACEBO_OF.items():
        if cure in cures and placebo in cures:
            cures[cure]["beyond"] = paired_difference(lost, {"cure": cure}, {"cure": placebo}, "correct")
    return {"cures": cures, "chosen": {name: taken[name] for name in CHOSEN if taken}}


def _one(rows: pd.DataFrame) -> Tree:
    rows = rows.assign(
        change=rows["correct"].astype(float) - rows["before"].astype(float),
        nats=-rows["log_prob"],
        nats_change=rows["log_prob_before"] - rows["log_prob"],
    )
    held, own, said = (rows[rows["group"] == group] for group in (HELD_OUT, TRAINED, STATEMENTS))
    lost = held["verdict"].isin(STORED)
    new = own[~own["known"]]
    return {
        "restored": mean(held[lost], "correct"),
        "rest": mean(held[~lost], "change", difference=True),
        "new": mean(new, "change", difference=True),
        "new_kept": mean(new[new["before"].astype(bool)], "correct"),
        "known_kept": mean(held[held["known"] & held["before"].astype(bool)], "correct"),
        "known": mean(held[held["known"]], "correct"),
        "all": mean(held, "correct"),
        "all_change": mean(held, "change", difference=True),
        "statements": mean(said, "nats", share=False),
        "statements_change": mean(said, "nats_change", share=False),
    }


def relative_times(frame: pd.DataFrame) -> dict[str, float]:
    """Return by cure its CPU time over the uncured fine-tuning's, averaged over seeds.

    It is no result: it differs from run to run, and so is kept out of results.json.
    """
    once = frame.drop_duplicates(["seed", "cure"])
    ratio = once["seconds"] / once["training_seconds"]
    return {str(cure): float(value) for cure, value in ratio.groupby(once["cure"]).mean().items()}


def _bounds(path: tuple[str, ...]) -> tuple[float, float] | None:
    return None if path[-1] in OPEN else (-1, 1) if path[-1] in CHANGES else (0, 1)
