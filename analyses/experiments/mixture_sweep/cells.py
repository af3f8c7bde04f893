"""Cells of mixture_sweep: what is trained, and what each cell measures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analyses.common.grid_cells import GridCell
from analyses.common.held_out import measure_held_out
from analyses.common.options import SHUFFLED as DEALT
from analyses.common.training_setup import fine_tune, make_training_setup, setting_for
from analyses.experiments.mixture_sweep.options import MixtureSweepOptions
from finetune.common.seeds import generator
from finetune.data.facts import FactSet

SHUFFLED, FIRST, LAST = "shuffled", "popular first", "popular last"
BY = ("popularity", "chance")  # what the halves were made by


def cells(options: MixtureSweepOptions) -> list[GridCell]:
    """One cell per mixture, order and seed; the placebo's are the extremes of shuffled popularity."""
    mixes = [(share, SHUFFLED, BY[0]) for share in options.chosen] + [(0.5, FIRST, BY[0]), (0.5, LAST, BY[0])]
    if options.placebo:
        mixes += [(share, SHUFFLED, BY[1]) for share in (0.0, 1.0)]
    return [
        GridCell.of(seed, share=share, order=order, by=by)
        for share, order, by in mixes
        for seed in options.seeds
    ]


def measure(options: MixtureSweepOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Fine-tune on one mixture and ask the held-out facts."""
    setup = make_training_setup(setting_for(options, None, cell.seed), cache=options.bases, seed=cell.seed)
    halves = options.arms(setup.parts.train, seed=cell.seed)
    prefix = "" if cell.params["by"] == BY[0] else DEALT
    top, bottom = halves[f"{prefix}top"], halves[f"{prefix}bottom"]
    chosen, popular = mixture(top, bottom, cell.params["share"], seed=cell.seed)
    order = cell.params["order"]
    stages = None if order == SHUFFLED else [int(is_popular != (order == FIRST)) for is_popular in popular]
    arm = fine_tune(setup, chosen, home / "arm", name=cell.key, stages=stages)
    _, frame = measure_held_out(setup, {"arm": arm.path}, home, batch_tokens=options.batch_tokens)
    return frame.assign(step=arm.step, training_loss=arm.training_loss)


def mixture(top: FactSet, bottom: FactSet, share: float, *, seed: int) -> tuple[FactSet, list[bool]]:
    """Draw a set as large as a half from both; say of each fact whether it is of the popular one.

    Args:
        top: the popular half.
        bottom: the unpopular half.
        share: how much of the set is from the popular one, 0 to 1.
        seed: of the draw.
    """
    size = min(len(top), len(bottom))
    taken = round(share * size)
    rng = generator(seed, "mixture")
    # One order a half, so that a larger share holds all that a smaller one does.
    from_top, from_bottom = (
        sorted(rng.permutation(len(half))[:n].tolist()) for half, n in ((top, taken), (bottom, size - taken))
    )
    facts = (*(top[i] for i in from_top), *(bottom[i] for i in from_bottom))
    made = FactSet(facts=facts, name=f"{share:.0%} popular")
    return made, [True] * taken + [False] * (size - taken)
