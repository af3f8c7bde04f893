"""Numbers of planted truth: what a verdict finds of known damage, and what it mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.numbers import SHARE, Tree, mean_of, summarise_seeds
from analyses.common.recovery_numbers import EVIDENCE, STATED, recovery_trees, short_name, verdict_key
from analyses.common.verdict_numbers import stated_apart
from analyses.experiments.planted_truth.cells import (
    ABSENT,
    DAMAGED,
    OVERWRITTEN,
    RARE,
    RETAINED,
    STORED,
)
from analyses.experiments.planted_truth.damage import Damage
from interp.stats import Estimate, auroc, precision_at
from interp.verdicts.diagnosis import VERDICTS

PREVALENCES = (0.1, 0.5, 0.9)
CELL = ["how", "part", "forms", "share"]
RULES = {
    "rule_every": "still stated in every held-out form",
    "rule_any": "still stated in any held-out form",
}


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers of each kind of damage under ``cells``, and what tells stored from overwritten."""
    return summarise_seeds(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> tuple[float, float]:
    return (-1, 1) if {"stated_minus", "above_placebo", "difference"} & set(path) else SHARE


def cell_name(damage: Damage) -> str:
    """Name a kind of damage in results.json."""
    share = f"_{damage.share:g}" if damage.how == "interpolated" else ""
    return f"{damage.how}_{damage.part}_{damage.forms}{share}"


def _one_seed(frame: pd.DataFrame) -> Tree:
    frame = with_calls(frame)
    grouped: Iterable[tuple[tuple[Any, ...], pd.DataFrame]] = frame.groupby(CELL, sort=False)  # type: ignore[assignment]
    cells = {cell_name(Damage(**dict(zip(CELL, key, strict=True)))): _cell(rows) for key, rows in grouped}
    targeted = frame[(frame["how"] == "targeted") & frame["truth"].isin((STORED, OVERWRITTEN))]
    return {"cells": cells, "stored_against_overwritten": _areas(targeted)}


def with_calls(rows: pd.DataFrame) -> pd.DataFrame:
    """Add whom each rule calls stored, 1 or 0: in some degree, or intact."""
    rules = simple_rules(rows[STATED])
    return rows.assign(**{f"called_{name}": rules[name] for name in RULES})


def simple_rules(stated_share: pd.Series[float]) -> pd.DataFrame:
    """Return whom each of ``RULES`` calls stored, a column each, from the share of forms."""
    there = stated_share.notna()
    return pd.DataFrame(
        {
            "rule_every": (stated_share == 1).where(there).astype(float),
            "rule_any": (stated_share > 0).where(there).astype(float),
        }
    )


def _cell(rows: pd.DataFrame) -> Tree:
    """Sum up one kind of damage.

    Recall is of facts stored by construction, the false-positive rate of never-stored ones that are answered
    wrong.
    """
    wrong = ~rows["right"].astype(bool)
    had = rows[rows["truth"].isin((STORED, OVERWRITTEN, DAMAGED, RETAINED))]
    lost = rows[rows["truth"].isin((STORED, OVERWRITTEN, DAMAGED))]
    never = rows[rows["truth"].isin((ABSENT, RARE)) & wrong]
    matched = rows[rows["control_matched"]]
    tree: Tree = {
        "lost": mean_of(had["truth"] != RETAINED, had),
        "verdicts": {verdict_key(name): mean_of(lost["verdict"] == name, lost) for name in VERDICTS},
        "called": {
            name: {
                "of_lost": mean_of(lost[f"called_{name}"], lost),
                "of_never": mean_of(never[f"called_{name}"], never),
                "of_matched": mean_of(matched[f"called_{name}"], matched),
                **{k: mean_of(some[f"called_{name}"], some) for k, some in never.groupby("truth")},
                **_precisions(lost, never, name),
            }
            for name in RULES
        },
        "apart": stated_apart(rows),
        "auroc": _areas(pd.concat([lost, never])),
        **recovery_trees(rows),
    }
    return tree


def _precisions(lost: pd.DataFrame, never: pd.DataFrame, name: str) -> dict[str, Estimate]:
    """Return precision at each prevalence, of stored among never-stored; none where none is stored."""
    both = pd.concat([lost[lost["truth"] == STORED], never])
    called, positive = both[f"called_{name}"].to_numpy(float), (both["truth"] == STORED).to_numpy(bool)
    return {
        f"precision_{prevalence:g}": precision_at(
            called, positive, prevalence, groups=both["subject"].to_numpy()
        )
        for prevalence in PREVALENCES
    }


def _areas(rows: pd.DataFrame) -> dict[str, Estimate]:
    """Measure how well what is stated and graded evidence tell damaged facts from others."""
    positive = ~rows["truth"].isin((ABSENT, RARE))
    if (rows["truth"] == OVERWRITTEN).any() and (rows["truth"] == STORED).any():
        positive = rows["truth"] == STORED
    columns = {short_name(name): name for name in (STATED, *EVIDENCE)}
    return {
        name: auroc(
            rows[column].to_numpy(np.float64),
            positive.to_numpy(bool),
            groups=rows["subject"].to_numpy(),
        )
        for name, column in columns.items()
    }
