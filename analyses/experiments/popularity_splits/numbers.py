"""From the rows of all cells to numbers: learning rates chosen on validation, arms, paired differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analyses.common.numbers import Tree, mean, paired_difference, summarise_seeds
from analyses.experiments.popularity_splits.cells import BASE, as_trained
from interp.stats import overlap_of

WHOLE = "whole"
PAIRS = (("top", "bottom"), ("top", WHOLE), ("top", "random"), ("random", "bottom"))
SETTING = ("dataset", "model", "method", "fraction")
METRICS = ("correct", "contains", "choice_correct")


def select_rates_by_validation(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep of every arm and seed the learning rate that validated best; of equals the smaller one.

    Only rows of what was kept, asked as it was trained, are left.
    """
    frame = as_trained(frame)
    if "validation" not in frame:
        return frame
    keys = ["dataset", "model", "method", "arm", "fraction", "seed"]
    cells = frame.drop_duplicates([*keys, "learning_rate"])
    cells = cells.sort_values(["validation", "learning_rate"], ascending=[False, True], kind="stable")
    best = cells.drop_duplicates(keys)[[*keys, "learning_rate"]]
    return frame.merge(best, on=[*keys, "learning_rate"], how="inner")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return by data set, model, method and share: every arm's accuracy, and what arms differ by.

    The names nest in that order, each share written as in ``0.5``; the base and the whole set are beside the
    arms of every share.
    """
    overlaps = {str(name): overlap_of(rows) for name, rows in frame.groupby("dataset")}
    return summarise_seeds(
        select_rates_by_validation(frame), _one_seed, _bounds, lambda path: overlaps[path[0]]
    )


def iterate_settings(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str, float], pd.DataFrame]]:
    """Yield each data set, model, method and share with its arms' rows, the base's and the whole set's."""
    trained = frame[frame["arm"] != BASE]
    shares = trained[trained["arm"] != WHOLE]
    found = (shares if len(shares) else trained).drop_duplicates(list(SETTING))
    for dataset, model, method, fraction in found[list(SETTING)].itertuples(index=False, name=None):
        here = (frame["dataset"] == dataset) & (frame["model"] == model)
        base = here & (frame["arm"] == BASE)
        whole = here & (frame["arm"] == WHOLE) & (frame["method"] == method)
        arms = here & (frame["method"] == method) & (frame["fraction"] == fraction)
        yield (str(dataset), str(model), str(method), float(fraction)), frame[base | whole | arms]


def _one_seed(frame: pd.DataFrame) -> Tree:
    tree: Tree = {}
    for (dataset, model, method, fraction), rows in iterate_settings(frame):
        part = tree.setdefault(dataset, {}).setdefault(model, {}).setdefault(method, {})
        part[f"{fraction:g}"] = {"arms": _arms(rows), "contrasts": _contrasts(rows)}
    return tree


def _arms(rows: pd.DataFrame) -> Tree:
    return {str(arm): _arm(some) for arm, some in rows.groupby("arm", sort=False)}


def _arm(rows: pd.DataFrame) -> Tree:
    known, unknown = rows[rows["known"]], rows[~rows["known"]]
    tree: Tree = {
        "accuracy": mean(rows, "correct"),
        "accuracy_known": mean(known, "correct"),
        "accuracy_unknown": mean(unknown, "correct"),
        "contains": mean(rows, "contains"),
        "log_prob": mean(rows, "log_prob", share=False),
    }
    if rows["quartile"].notna().all():
        tree["accuracy_by_quartile"] = {
            f"q{q}": mean(rows[rows["quartile"] == q], "correct") for q in range(1, 5)
        }
    if "choice_correct" in rows and rows["choice_correct"].notna().all():
        tree["choice"] = mean(rows, "choice_correct")
    return tree


def _contrasts(rows: pd.DataFrame) -> Tree:
    arms, known = set(rows["arm"]), rows[rows["known"]]
    tree: Tree = {}
    for first, second in PAIRS:
        if {first, second} <= arms:
            sides = {"arm": first}, {"arm": second}
            tree[f"{first}_minus_{second}"] = {
                "accuracy": paired_difference(rows, *sides, "correct"),
                "accuracy_known": paired_difference(known, *sides, "correct"),
                "contains": paired_difference(rows, *sides, "contains"),
            }
    return tree


def _bounds(path: tuple[str, ...]) -> tuple[float, float] | None:
    if path[-1] == "log_prob":
        return None
    return (-1, 1) if "contrasts" in path else (0, 1)
