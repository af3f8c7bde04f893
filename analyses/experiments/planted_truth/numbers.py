"""Numbers of planted truth: what a verdict and simple rules find of known damage, and what they mistake."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from analyses.common.numbers import SHARE, Tree, mean_of, summarise_seeds
from analyses.common.recovery_numbers import INDEX, predictors, recovery_trees, verdict_key
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
from interp.verdicts.calibration import cut_at
from interp.verdicts.diagnose import PLACEBOS, USED
from interp.verdicts.diagnosis import RETAINED as KEPT
from interp.verdicts.diagnosis import VERDICTS
from interp.verdicts.recovery import simple_rules
from interp.verdicts.storage_index import Anchors, storage_index

TRUTHS = (STORED, OVERWRITTEN, DAMAGED, ABSENT, RARE, RETAINED)
PREVALENCES = (0.1, 0.5, 0.9)
CELL = ["how", "part", "forms", "share"]
SHOWN, WITHOUT = "index", "index_without_patterns"
PATTERNS = ("patterns", "all_patterns")  # evidence that takes the base's attention
CALLED = (SHOWN, WITHOUT, "rule_every", "rule_any", "rule_patch")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers of each kind of damage under ``cells``, and what tells stored from overwritten."""
    return summarise_seeds(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> tuple[float, float]:
    return (-1, 1) if {"index_minus", "above_placebo"} & set(path) else SHARE


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


def with_calls(frame: pd.DataFrame) -> pd.DataFrame:
    """Add what the verdict and each rule call stored, 1 or 0, cell by cell."""
    keys = [frame[key] for key in [*CELL, "seed"]]
    parts = [_with_calls(rows) for _, rows in frame.groupby(keys, sort=False)]
    return pd.concat(parts)


def _with_calls(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the calls of one cell; a patch is cut at what ``alpha`` of the fitting half of controls exceed."""
    rows = rows.assign(**simple_rules(rows), **{WITHOUT: index_without_patterns(rows)})
    alpha, fitting = float(rows["alpha"].iloc[0]), rows["control_never"] & ~rows["held_out"]
    stated = rows["stated"].astype(bool)
    cuts = {
        name: cut_at(rows.loc[fitting, name].to_numpy(float), 1 - alpha, "higher")
        for name in (WITHOUT, "rule_patch")
    }
    called = {
        SHOWN: (rows[INDEX] > rows["threshold"]) | stated,
        WITHOUT: (rows[WITHOUT] > cuts[WITHOUT]) | stated,
        "rule_every": rows["rule_every"],
        "rule_any": rows["rule_any"],
        "rule_patch": rows["rule_patch"] > cuts["rule_patch"],
    }
    return rows.assign(**{f"called_{name}": values.astype(float) for name, values in called.items()})


def index_without_patterns(rows: pd.DataFrame) -> Float[ndarray, " fact"]:
    """Place one cell's facts between the same anchors without the base's attention as evidence."""
    kinds = [kind for kind in USED if kind not in PATTERNS and f"evidence_{kind}" in rows]
    evidence, fitting = (
        rows[[f"evidence_{kind}" for kind in kinds]].to_numpy(float),
        ~rows["held_out"].to_numpy(),
    )
    never, retained = rows["control_never"].to_numpy(), (rows["verdict"] == KEPT).to_numpy()
    both = Anchors(never=evidence[never & fitting], retained=evidence[retained & fitting], kinds=tuple(kinds))
    apart = both.apart(float(rows["alpha"].iloc[0]))
    return storage_index(evidence[:, apart], both.of(apart))[0]


def _cell(rows: pd.DataFrame) -> Tree:
    """Sum up one kind of damage.

    Recall is of facts stored by construction, the false-positive rate of never-stored ones that are answered
    wrong, of the subjects that no threshold was fitted on.
    """
    wrong = ~rows["right"].astype(bool)
    had = rows[rows["truth"].isin((STORED, OVERWRITTEN, DAMAGED, RETAINED))]
    lost = rows[rows["truth"].isin((STORED, OVERWRITTEN, DAMAGED))]
    never = rows[rows["truth"].isin((ABSENT, RARE)) & wrong & rows["held_out"]]
    matched = rows[rows["control_matched"] & rows["held_out"]]
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
            for name in CALLED
        },
        "auroc": _areas(pd.concat([lost, rows[rows["truth"].isin((ABSENT, RARE)) & wrong]])),
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
    """Measure how well the index, each rule and each kind of evidence tell damaged facts from others."""
    placebos = [name for kind in PLACEBOS if (name := f"evidence_{kind}") in rows]
    positive = ~rows["truth"].isin((ABSENT, RARE))
    if (rows["truth"] == OVERWRITTEN).any() and (rows["truth"] == STORED).any():
        positive = rows["truth"] == STORED
    columns = {SHOWN: INDEX, WITHOUT: WITHOUT}
    columns |= {name.removeprefix("evidence_"): name for name in (*predictors(rows), *placebos)}
    return {
        name: auroc(
            rows[column].to_numpy(np.float64),
            positive.to_numpy(bool),
            groups=rows["subject"].to_numpy(),
        )
        for name, column in columns.items()
    }
