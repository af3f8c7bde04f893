"""Numbers of planted truth: precision and recall of a verdict, each kind of evidence alone, confusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analyses.common.numbers import SHARE, mean_of, summarise_seeds
from analyses.experiments.planted_truth.stages import PLANTS, TRUTHS
from interp.stats import Estimate, auroc
from interp.verdicts.diagnose import KINDS, PLACEBOS
from interp.verdicts.diagnosis import ERASED, NEVER_STORED, STORED, SUPPRESSED, VERDICTS


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return ``verdict``, ``evidence`` and ``confusion``, over seeds, and the same of each seed."""
    return summarise_seeds(frame, _one_seed, lambda path: SHARE)


def _one_seed(frame: pd.DataFrame) -> dict[str, Any]:
    known = frame[frame["truth"] != ""]
    is_suppressed = (known["truth"] == SUPPRESSED).astype(float)
    called = known["verdict"].isin(STORED)
    # Storage is asked after only where an answer is wrong, and on subjects that no threshold was fitted on.
    absent = frame[(frame["truth"] == NEVER_STORED) & frame["held_out"] & ~frame["right"]]
    shown = ((absent["index"] > absent["threshold"]) | absent["stated"]).astype(float)
    verdict = {
        "suppressed": {
            "precision": mean_of(is_suppressed[called], known[called]),
            "recall": mean_of(called[is_suppressed > 0], known[is_suppressed > 0]),
        },
        "false_positive_rate": mean_of(shown, absent),
        "never_stored_called_suppressed": mean_of(absent["verdict"].isin(STORED), absent),
        "erased_called_suppressed": mean_of(
            called[known["truth"] == ERASED], known[known["truth"] == ERASED]
        ),
        "auroc": _auroc(known, "index"),
        "by_model": {
            name: mean_of(rows["verdict"] == rows["truth"], rows)
            for name, rows in known[known["truth"].isin((SUPPRESSED, ERASED))].groupby("model", sort=False)
        },
    }
    kinds = [kind for kind in (*KINDS, *PLACEBOS) if f"evidence_{kind}" in frame]
    evidence = {kind: _areas(known, f"evidence_{kind}") for kind in kinds}
    return {"verdict": verdict, "evidence": evidence, "confusion": _confusion(known)}


def _areas(known: pd.DataFrame, column: str) -> dict[str, Any]:
    """Return a kind of evidence's area: over all facts, for each way of suppressing, against erased facts."""
    ways = {name: known["model"] == name for name in PLANTS if name != ERASED}
    return {
        "auroc": _auroc(known, column),
        **{
            f"auroc_{name.replace(' ', '_')}": _auroc(known[way | (known["truth"] != SUPPRESSED)], column)
            for name, way in ways.items()
        },
        "auroc_against_erased": _auroc(known[known["truth"] != NEVER_STORED], column),
    }


def _confusion(known: pd.DataFrame) -> dict[str, Any]:
    """Return, for each truth, the share of its facts that gets each verdict."""
    return {
        truth.replace(" ", "_"): {
            verdict.replace(" ", "_"): mean_of(rows["verdict"] == verdict, rows) for verdict in VERDICTS
        }
        for truth in TRUTHS
        if len(rows := known[known["truth"] == truth])
    }


def _auroc(rows: pd.DataFrame, column: str) -> Estimate:
    """Measure how well a number tells suppressed facts from those that are not stored."""
    rows = rows[rows["truth"].isin((SUPPRESSED, ERASED, NEVER_STORED)) & rows[column].notna()]
    return auroc(
        rows[column].to_numpy(dtype=np.float64),
        (rows["truth"] == SUPPRESSED).to_numpy(),
        groups=rows["subject"].to_numpy(),
    )
