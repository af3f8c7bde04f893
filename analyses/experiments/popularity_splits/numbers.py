"""From the rows of all cells to numbers: learning rates chosen on validation, arms, paired differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analyses.common.numbers import Tree, area, mean, paired_difference, summarise_seeds
from analyses.experiments.popularity_splits.cells import BASE, as_trained
from interp.stats import overlap_of

WHOLE = "whole"
PLACEBO, OTHER_PLACEBO = "shuffled_top", "shuffled_bottom"
PAIRS = (
    ("top", "bottom"),
    ("top", WHOLE),
    ("top", "random"),
    ("random", "bottom"),
    ("top", PLACEBO),
    (PLACEBO, OTHER_PLACEBO),  # what two halves that share no fact differ by by chance
    (PLACEBO, "random"),  # these share half of their facts, and so differ by less
)
SETTING = ("dataset", "model", "method", "fraction")
METRICS = ("correct", "contains", "choice_correct")
GROUPS = ("known_uncommon", "highly_known", "known_unguessed")
PREDICTORS = ("popularity", "base_statement", "base_invented", "kl_from_base", "base_log_prob")


def select_rates_by_validation(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep of every arm and seed the learning rate that validated best; of equals the smaller one."""
    if "validation" not in frame:
        return frame
    keys = ["dataset", "model", "method", "arm", "fraction", "seed"]
    cells = frame.drop_duplicates([*keys, "learning_rate"])
    # Archives of before 30 November 2026 hold it in half the digits, so that equals would differ.
    cells = cells.assign(validation=cells["validation"].astype("float32"))
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
        rows = _with_groups(rows)
        asked = {told: _compared(some) for told, some in iterate_asked(rows)}
        part[f"{fraction:g}"] = _compared(as_trained(rows)) | ({"asked": asked} if asked else {})
    return tree


def iterate_asked(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield rows by checkpoint and number of solved examples, the base's too, where several were asked."""
    if "beside" not in rows or not rows["beside"].any():
        return
    base = rows["arm"] == BASE
    for checkpoint in rows.loc[~base, "checkpoint"].unique().tolist():
        for shots in sorted(rows["shots"].unique().tolist()):
            here = (base | (rows["checkpoint"] == checkpoint)) & (rows["shots"] == shots)
            yield f"{checkpoint}, {shots} examples", rows[here]


def _compared(rows: pd.DataFrame) -> Tree:
    """Sum up arms and their contrasts on rows that were asked in one way."""
    return {
        "arms": {str(arm): _arm(some) for arm, some in rows.groupby("arm", sort=False)},
        "contrasts": _contrasts(rows),
    }


def _with_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """Say of every row to which groups its fact belongs, and what the base says of it.

    ``unguessed`` are known facts whose answer is likelier after their own name than after an invented one.
    """
    if "answer" not in rows:
        return rows
    usual = rows.groupby("relation")["answer"].transform(lambda answers: answers.mode().iloc[0])
    groups = {"known_uncommon": rows["known"] & (rows["answer"] != usual)}
    base = as_trained(rows[rows["arm"] == BASE]).set_index("fact_id")
    base = base.assign(base_log_prob=base["log_prob"])
    told = {name: rows["fact_id"].map(base[name]) for name in PREDICTORS if name in base and "base_" in name}
    if "base_degree" in base:
        groups["highly_known"] = rows["known"] & (rows["fact_id"].map(base["base_degree"]) == "HighlyKnown")
    if "base_invented" in told:
        groups["known_unguessed"] = rows["known"] & (told["base_log_prob"] > told["base_invented"])
    return rows.assign(**told, **groups)


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
    tree |= {f"accuracy_{name}": mean(rows[rows[name]], "correct") for name in GROUPS if name in rows}
    if _is_measured(rows):
        tree["subject_attention"] = mean(rows, "subject_attention")
        tree["value_weighted"] = mean(rows, "value_weighted", share=False)
        tree["kl_from_base"] = mean(rows, "kl_from_base", share=False)
        tree["survival"] = {name: area(known, name, "correct") for name in PREDICTORS if name in known}
    return tree


def _is_measured(rows: pd.DataFrame) -> bool:
    return "subject_attention" in rows and bool(rows["subject_attention"].notna().any())


def _contrasts(rows: pd.DataFrame) -> Tree:
    arms, known = set(rows["arm"]), rows[rows["known"]]
    tree: Tree = {}
    for first, second in PAIRS:
        if {first, second} <= arms:
            sides = {"arm": first}, {"arm": second}
            part = {
                "accuracy": paired_difference(rows, *sides, "correct"),
                "accuracy_known": paired_difference(known, *sides, "correct"),
                "contains": paired_difference(rows, *sides, "contains"),
            }
            groups = {name: rows[rows[name]] for name in GROUPS if name in rows}
            groups |= {f"q{q}": some for q, some in rows.groupby("quartile") if "known_uncommon" in rows}
            for name, some in groups.items():
                part[f"accuracy_{name}"] = paired_difference(some, *sides, "correct")
            if _is_measured(rows):
                part["subject_attention"] = paired_difference(rows, *sides, "subject_attention")
            tree[f"{first}_minus_{second}"] = part
    return tree


def _bounds(path: tuple[str, ...]) -> tuple[float, float] | None:
    if path[-1] in ("log_prob", "value_weighted", "kl_from_base") and "survival" not in path:
        return None
    return (-1, 1) if "contrasts" in path else (0, 1)
