"""Numbers of planted truth: what a verdict and simple rules find of known damage, and what they mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analyses.common.numbers import SHARE, Tree, mean_of, summarise_seeds
from analyses.common.recovery_numbers import INDEX, predictors, recovery_numbers
from analyses.experiments.planted_truth.cells import (
    ABSENT,
    DAMAGED,
    OVERWRITTEN,
    RARE,
    RETAINED,
    STORED,
    WITHOUT,
)
from interp.stats import Estimate, auroc, precision_at
from interp.verdicts.diagnose import PLACEBOS
from interp.verdicts.diagnosis import VERDICTS
from interp.verdicts.recovery import simple_rules

TRUTHS = (STORED, OVERWRITTEN, DAMAGED, ABSENT, RARE, RETAINED)
PREVALENCES = (0.1, 0.5, 0.9)
CELL = ["how", "part", "forms", "share"]
SHOWN, SHOWN_WITHOUT = "index", "index_without_patterns"
CALLED = (SHOWN, SHOWN_WITHOUT, "rule_every", "rule_any", "rule_patch")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers of each kind of damage under ``cells``, and what tells stored from overwritten."""
    return summarise_seeds(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> tuple[float, float]:
    return (-1, 1) if {"index_minus", "above_placebo"} & set(path) else SHARE


def cell_name(how: str, part: str, forms: str, share: float) -> str:
    """Name a kind of damage in results.json."""
    return f"{how}_{part}_{forms}" + ("" if how != "interpolated" else f"_{share:g}")


def _one_seed(frame: pd.DataFrame) -> Tree:
    frame = with_calls(frame)
    cells = {cell_name(*key): _cell(rows) for key, rows in frame.groupby(CELL, sort=False)}
    targeted = frame[(frame["how"] == "targeted") & frame["truth"].isin((STORED, OVERWRITTEN))]
    return {"cells": cells, "stored_against_overwritten": _areas(targeted)}


def with_calls(frame: pd.DataFrame) -> pd.DataFrame:
    """Add what the verdict and each rule call stored, 1 or 0; a patch's cut is that of 5% of controls."""
    frame = frame.assign(**simple_rules(frame))
    called = {
        f"called_{SHOWN}": shown(frame, ""),
        f"called_{SHOWN_WITHOUT}": shown(frame, WITHOUT),
        "called_rule_every": frame["rule_every"],
        "called_rule_any": frame["rule_any"],
    }
    never = frame["truth"].isin((ABSENT, RARE)) & ~frame["right"].astype(bool)
    keys = [*CELL, "seed"]
    cut = frame["rule_patch"].where(never & ~frame["held_out"]).groupby([frame[k] for k in keys])
    called["called_rule_patch"] = (frame["rule_patch"] > cut.transform(lambda v: v.quantile(0.95))).astype(
        float
    )
    return frame.assign(**called)


def shown(frame: pd.DataFrame, suffix: str) -> pd.Series[Any]:
    """Return whether the verdict holds a fact to be stored in some degree, 1 or 0."""
    return (frame[f"{INDEX}{suffix}"] > frame[f"threshold{suffix}"]).astype(float)


def _cell(rows: pd.DataFrame) -> Tree:
    """Sum up one kind of damage.

    Recall is of facts stored by construction, the false-positive rate of never-stored ones that are answered
    wrong, of the subjects that no threshold was fitted on.
    """
    wrong = ~rows["right"].astype(bool)
    had = rows[rows["truth"].isin((STORED, OVERWRITTEN, DAMAGED, RETAINED))]
    lost = rows[rows["truth"].isin((STORED, OVERWRITTEN, DAMAGED))]
    never = rows[rows["truth"].isin((ABSENT, RARE)) & wrong & rows["held_out"]]
    tree: Tree = {
        "lost": mean_of(had["truth"] != RETAINED, had),
        "verdicts": {_key(name): mean_of(lost["verdict"] == name, lost) for name in VERDICTS},
        "called": {
            name: {
                "of_lost": mean_of(lost[f"called_{name}"], lost),
                "of_never": mean_of(never[f"called_{name}"], never),
                **{k: mean_of(some[f"called_{name}"], some) for k, some in never.groupby("truth")},
                **_precisions(lost, never, name),
            }
            for name in CALLED
        },
        "auroc": _areas(pd.concat([lost, rows[rows["truth"].isin((ABSENT, RARE)) & wrong]])),
        "lesson": recovery_numbers(rows),
    }
    return tree


def _key(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")


def _precisions(lost: pd.DataFrame, never: pd.DataFrame, name: str) -> dict[str, Estimate]:
    """Return precision at each prevalence, of stored among never-stored; none where lost ones are not stored."""
    both = pd.concat([lost[lost["truth"] == STORED], never])
    called, positive = both[f"called_{name}"].to_numpy(float), (both["truth"] == STORED).to_numpy(bool)
    return {
        f"precision_{prevalence:g}": precision_at(
            called, positive, prevalence, groups=both["subject"].to_numpy()
        )
        for prevalence in PREVALENCES
    }


def _areas(rows: pd.DataFrame) -> dict[str, Estimate]:
    """Measure how well the index, each rule and each kind of evidence alone tell damaged facts from others."""
    placebos = [name for kind in PLACEBOS if (name := f"evidence_{kind}") in rows]
    positive = ~rows["truth"].isin((ABSENT, RARE))
    if (rows["truth"] == OVERWRITTEN).any() and (rows["truth"] == STORED).any():
        positive = rows["truth"] == STORED
    columns = {SHOWN: INDEX, SHOWN_WITHOUT: f"{INDEX}{WITHOUT}"}
    columns |= {name.removeprefix("evidence_"): name for name in (*predictors(rows), *placebos)}
    return {
        name: auroc(
            rows[column].to_numpy(np.float64),
            positive.to_numpy(bool),
            groups=rows["subject"].to_numpy(),
        )
        for name, column in columns.items()
    }
