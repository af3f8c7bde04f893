"""Numbers of survival: what each predictor ranks, storage and survival by level, and calibration.

Every row is a held-out fact in one arm and seed. A fact is *known* if the base states it in every form, and a
known fact *survives* if the arm answers it right; predictors of survival are judged on known facts alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analyses.common.numbers import Bounds, Tree, area, area_gain, mean, spearman, summarise_seeds
from analyses.experiments.salience_vs_frequency.calibration import held_out_probabilities, ranks_within
from finetune.common.seeds import generator

PREDICTORS = (
    "frequency",
    "answer_prior",
    "stored",
    "used",
    "statement",
    "question",
    "harm_score",
    "shuffled",
)
PLACEBO = "shuffled"
TIERS = ("common", "rare")
BINS = 5


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return storage by level, survival by arm and level, and how well each predictor foretells it."""
    return summarise_seeds(calibrated(answer_tiers(frame)), _one_seed, _bounds)


def answer_tiers(frame: pd.DataFrame) -> pd.DataFrame:
    """Say of each fact whether its answer is common: more so than its seed's median held-out fact's."""
    middle = frame.groupby("seed")["answer_prior"].transform("median")
    return frame.assign(tier=np.where(frame["answer_prior"] > middle, *TIERS))


def calibrated(frame: pd.DataFrame) -> pd.DataFrame:
    """Add, for known facts, each predictor's probability of survival, fitted elsewhere, and the base rate.

    Elsewhere is in the other seeds; with one seed, in the other half of the subjects.
    """
    known = frame[frame["known"]]
    fold = known["seed"].to_numpy()
    if len(np.unique(frame["seed"])) == 1:
        names = np.unique(known["subject"].to_numpy())
        half = dict(zip(names, generator(None, "calibration folds").permutation(len(names)) % 2, strict=True))
        fold = known["subject"].map(half).to_numpy(dtype=np.int64)
    for name in PREDICTORS:
        made = np.full(len(frame), np.nan)
        rate = np.full(len(frame), np.nan)
        for arm in frame["arm"].unique():
            here = (known["arm"] == arm).to_numpy()
            x = ranks_within(known[name].to_numpy(np.float64)[here], known["seed"].to_numpy()[here])
            y = known["correct"].to_numpy(bool)[here]
            places = frame.index.get_indexer(known.index[here])
            made[places], rate[places] = held_out_probabilities(x, y, fold[here])
        frame = frame.assign(**{f"p_{name}": made, "p_rate": rate})
    return frame


def _bounds(path: tuple[str, ...]) -> Bounds | None:
    return (0, 1) if path[-1] in _SHARES or path[0] == "storage" or "survival" in path else (-1, 1)


_SHARES = ("area", "predicted", "observed", "brier", "accuracy", "accuracy_known")


def _one_seed(rows: pd.DataFrame) -> Tree:
    facts = rows.drop_duplicates("fact_id")
    known = rows[rows["known"]]
    order = facts.groupby("level")["popularity"].mean().sort_values().index
    arms = {str(arm): _of_arm(some, list(order)) for arm, some in rows.groupby("arm", sort=False)}
    return {
        "storage": {level: _by_tier(facts[facts["level"] == level], "known") for level in order},
        "salience": {name: spearman(facts, "frequency", name) for name in PREDICTORS[1:]},
        "arms": arms,
        "any_arm": {name: _any_arm(known, name) for name in PREDICTORS},
        "tiers": {
            tier: {"area": area(known[known["tier"] == tier], "frequency", "correct", within="arm")}
            for tier in TIERS
        },
        "calibration": {name: _calibration(known, name) for name in PREDICTORS},
    }


def _of_arm(rows: pd.DataFrame, order: list[str]) -> Tree:
    known = rows[rows["known"]]
    return {
        "accuracy": mean(rows, "correct"),
        "accuracy_known": mean(known, "correct"),
        "survival": {level: _by_tier(known[known["level"] == level], "correct") for level in order},
        "predictors": {
            name: {
                "area": area(known, name, "correct"),
                "rank_survival": spearman(known, name, "correct"),
                "rank_log_prob": spearman(known, name, "log_prob"),
            }
            for name in PREDICTORS
        },
    }


def _by_tier(rows: pd.DataFrame, column: str) -> Tree:
    return {"all": mean(rows, column), **{t: mean(rows[rows["tier"] == t], column) for t in TIERS}}


def _any_arm(known: pd.DataFrame, name: str) -> Tree:
    """Return a predictor's area within an arm, averaged over arms, and its gains over others'."""
    return {
        "area": area(known, name, "correct", within="arm"),
        "over_frequency": area_gain(known, name, "frequency", "correct", within="arm"),
        "over_placebo": area_gain(known, name, PLACEBO, "correct", within="arm"),
    }


def _calibration(known: pd.DataFrame, name: str) -> Tree:
    """Compare predicted with observed survival, in fifths of the facts by prediction and by Brier score."""
    rows = known.dropna(subset=[f"p_{name}"])
    y, p, rate = (rows[column].to_numpy(np.float64) for column in ("correct", f"p_{name}", "p_rate"))
    scored = rows.assign(brier=(p - y) ** 2, gain=(rate - y) ** 2 - (p - y) ** 2)
    order = np.argsort(p, kind="stable")
    parts = {f"{i + 1}": scored.iloc[part] for i, part in enumerate(np.array_split(order, BINS))}
    return {
        "brier": mean(scored, "brier"),
        "brier_gain": mean(scored, "gain", difference=True),
        "bins": {
            i: {"predicted": mean(part, f"p_{name}"), "observed": mean(part, "correct")}
            for i, part in parts.items()
        },
    }
