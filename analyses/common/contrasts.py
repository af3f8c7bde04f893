"""The popular half against the unpopular one: the contrast that sweeps repeat under every setting."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analyses.common.held_out import measure_held_out
from analyses.common.numbers import Tree, mean, paired_difference
from analyses.common.options import SHUFFLED, TrainingOptions
from analyses.common.training_setup import TrainingSetup, fine_tune

HALVES = ("top", "bottom")


def measure_halves(
    options: TrainingOptions,
    setup: TrainingSetup,
    home: Path,
    *,
    layers: bool = False,
    recovery: bool = False,
) -> pd.DataFrame:
    """Fine-tune the popular and the unpopular half, and those of the placebo on demand; ask held-out facts.

    Args:
        options: the arms, whether there is a placebo, and how much a pass may hold.
        setup: the base and its facts.
        home: a directory for arms and stage files.
        layers: also average attention over the heads of each layer.
        recovery: also put the popular half's attention into the unpopular one, see
            :func:`analyses.common.measurements.transplant`.
    """
    names = HALVES + (tuple(SHUFFLED + half for half in HALVES) if options.placebo else ())
    facts = options.arms(setup.parts.train, seed=setup.seed)
    arms = {name: fine_tune(setup, facts[name], home / "arms" / name, name=name) for name in names}
    paths = {name: checkpoint.path for name, checkpoint in arms.items()}
    _, frame = measure_held_out(
        setup, paths, home, layers=layers, recovery=recovery, batch_tokens=options.batch_tokens
    )
    for column in ("step", "training_loss"):
        frame[column] = frame["arm"].map({name: getattr(arm, column) for name, arm in arms.items()})
    return frame


def half_contrasts(rows: pd.DataFrame) -> Tree:
    """Return what one seed's halves differ by at one setting, how each does, and how much the base states."""
    known = rows[rows["known"]]
    one = rows[rows["arm"] == HALVES[0]]
    tree: Tree = {"stated": mean(one, "known"), **_differences(rows, known, "")}
    for half in HALVES:
        tree[half] = mean(known[known["arm"] == half], "correct")
    if SHUFFLED + HALVES[0] in set(rows["arm"]):
        tree["placebo"] = _differences(rows, known, SHUFFLED)
    return tree


def _differences(rows: pd.DataFrame, known: pd.DataFrame, prefix: str) -> Tree:
    first, second = ({"arm": prefix + half} for half in HALVES)
    return {
        "gap_known": paired_difference(known, first, second, "correct"),
        "gap_all": paired_difference(rows, first, second, "correct"),
        "gap_attention": paired_difference(rows, first, second, "subject_attention"),
    }
