"""From rows to what each cure restores and costs, per seed and over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.curing.choosing import ALLOWED
from analyses.curing.treating import CURES, HELD_OUT, NONE, STATEMENTS, TRAINED
from analyses.lab.numbers import mean, summed_up
from analyses.trees import Tree
from interp.results import Estimate
from interp.verdict import SUPPRESSED

if TYPE_CHECKING:
    import pandas as pd

GOAL = 0.5  # of the suppressed facts, which a cure is to restore
OPEN = ("statements", "statements_change", "seconds", "time")  # numbers without bounds
CHANGES = ("rest", "new", "all_change")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return by cure what it restores and costs, and the same of the cure chosen on the other seeds."""
    marked = with_before(frame)
    best = best_elsewhere(marked)
    return summed_up(marked, lambda rows: _one_seed(rows, best), _bounds)


def with_before(frame: pd.DataFrame) -> pd.DataFrame:
    """Add to every row what the uncured arm answered, and its verdict on held-out facts."""
    keys = ["seed", "group", "fact_id"]
    columns = [*keys, "correct", "log_prob", "verdict"]
    uncured = frame.loc[frame["cure"] == NONE, columns]
    names = {"correct": "before", "log_prob": "log_prob_before", "verdict": "verdict"}
    return frame.drop(columns="verdict").merge(uncured.rename(columns=names), on=keys, validate="m:1")


def best_elsewhere(marked: pd.DataFrame) -> dict[int, str]:
    """For each seed, the cure that restores most on the others, of those that cost what is allowed there."""
    held = marked[(marked["group"] == HELD_OUT) & marked["cure"].isin(CURES)]
    lost = held["verdict"] == SUPPRESSED
    change = held["correct"].astype(float) - held["before"].astype(float)
    tables = {
        "restored": held[lost].groupby(["seed", "cure"])["correct"].mean().unstack("cure"),
        "rest": change[~lost].groupby([held["seed"], held["cure"]]).mean().unstack("cure"),
    }
    chosen = {}
    for seed in sorted(held["seed"].unique()):
        others = {
            name: (table.drop(index=seed, errors="ignore") if len(table) > 1 else table).mean()
            for name, table in tables.items()
        }
        fine = others["rest"][others["rest"] >= -ALLOWED].index.intersection(others["restored"].index)
        some = others["restored"].loc[fine if len(fine) else others["restored"].index]
        chosen[int(seed)] = str(some.idxmax()) if len(some) else NONE
    return chosen


def _one_seed(rows: pd.DataFrame, best: dict[int, str]) -> Tree:
    uncured = float(rows["training_seconds"].iloc[0])
    cures: Tree = {str(cure): _one(some, uncured) for cure, some in rows.groupby("cure", sort=False)}
    chosen = best[int(rows["seed"].iloc[0])]
    taken = cures.get(chosen, cures[NONE])
    return {"cures": cures, "chosen": {name: taken[name] for name in ("restored", "rest", "new")}}


def _one(rows: pd.DataFrame, uncured: float) -> Tree:
    rows = rows.assign(
        change=rows["correct"].astype(float) - rows["before"].astype(float),
        nats=-rows["log_prob"],
        nats_change=rows["log_prob_before"] - rows["log_prob"],
    )
    held, own, said = (rows[rows["group"] == group] for group in (HELD_OUT, TRAINED, STATEMENTS))
    lost = held["verdict"] == SUPPRESSED
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
        "statements": mean(said, "nats"),
        "statements_change": mean(said, "nats_change"),
        "time": _alone(float(rows["seconds"].iloc[0]) / uncured) if uncured else _alone(None),
    }


def _alone(value: float | None) -> Estimate:
    return Estimate(value=value, low=None, high=None, n=int(value is not None))


def _bounds(path: tuple[str, ...]) -> tuple[float, float] | None:
    return None if path[-1] in OPEN else (-1, 1) if path[-1] in CHANGES else (0, 1)
