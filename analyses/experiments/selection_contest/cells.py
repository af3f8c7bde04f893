"""Cells of selection_contest: what is trained, and what each cell measures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analyses.common.grid_cells import GridCell
from analyses.common.held_out import asked_only
from analyses.common.training_setup import fine_tune
from analyses.experiments.selection_contest.options import SelectionContestOptions
from analyses.experiments.selection_contest.setups import ContestSet
from analyses.experiments.selection_contest.training_sets import (
    score_candidates,
    select_kept,
    training_setup_of,
    with_verdicts,
)


def cells(options: SelectionContestOptions) -> list[GridCell]:
    """One cell per set, method, budget and seed; seeds vary first, so that no two processes score at once."""
    return [
        GridCell.of(seed, score=s.score, keep=s.keep, method=s.method, budget=s.budget)
        for s in options.setups
        for seed in options.seeds
    ]


def measure(options: SelectionContestOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Fine-tune on the facts that one score keeps, and ask the held-out ones."""
    contest = ContestSet(**cell.params)
    run = home.parents[1]
    setup = training_setup_of(options, contest, cell.seed)
    facts, overlap = select_kept(setup, score_candidates(options, setup, run / "scores"), contest)
    arm = fine_tune(setup, facts, home / "arm", name=cell.key)
    frame = setup.told(asked_only(setup, "arm", arm.path, home, home / "answers.parquet"))
    if contest.is_judged(options.verdicts):
        frame = with_verdicts(frame, setup, arm.path, home / "stated_verdicts.json", options.batch_tokens)
    return frame.assign(size=len(facts), popular=overlap, step=arm.step, training_loss=arm.training_loss)
