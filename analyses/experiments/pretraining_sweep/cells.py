"""Cells of pretraining_sweep: what is trained, and what each cell measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from analyses.common.contrasts import measure_halves
from analyses.common.grid_cells import GridCell
from analyses.common.training_setup import WorldSetting, make_training_setup, setting_for
from analyses.experiments.pretraining_sweep.options import LENGTH, PretrainingSweepOptions
from finetune.data.synthetic_world import make_world
from finetune.training.presets import WORLDS


def cells(options: PretrainingSweepOptions) -> list[GridCell]:
    """One cell per setting and seed: a base and its arms."""
    return [
        GridCell.of(seed, axis=axis, x=round(value, 4))
        for axis, value in options.points
        for seed in options.seeds
    ]


def measure(options: PretrainingSweepOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Pretrain one base, fine-tune the halves, and ask the held-out facts."""
    setting = setting_at(options, cell.params["axis"], cell.params["x"], seed=cell.seed)
    setup = make_training_setup(setting, cache=options.bases, seed=cell.seed)
    return measure_halves(options, setup, home).assign(pretraining_steps=setting.base.steps)


def setting_at(options: PretrainingSweepOptions, axis: str, x: float, *, seed: int) -> WorldSetting:
    """Take the world's setting with one thing changed.

    Args:
        options: the world, and what is changed of its presets.
        axis: what is varied: the length of pretraining, or else the exponent of popularity.
        x: how many times the preset's steps, or the exponent.
        seed: of the world.
    """
    setting = setting_for(options, None, seed)
    if axis == LENGTH:
        return replace(setting, base=replace(setting.base, steps=max(1, round(setting.base.steps * x))))
    return replace(setting, facts=make_world(replace(WORLDS[options.world].world, alpha=x), seed=seed))
