"""Cells of depth_sweep: what is trained, and what each cell measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from analyses.common.contrasts import measure_halves
from analyses.common.grid_cells import GridCell
from analyses.common.training_setup import make_training_setup, setting_for
from analyses.experiments.depth_sweep.options import DepthSweepOptions
from finetune.common.errors import InputError
from finetune.training.config import BaseConfig


def cells(options: DepthSweepOptions) -> list[GridCell]:
    """One cell per depth and seed, the deep ones first: they take longest."""
    return [
        GridCell.of(seed, layers=depth) for depth in sorted(options.chosen)[::-1] for seed in options.seeds
    ]


def measure(options: DepthSweepOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Pretrain one base, fine-tune the halves, read their attention and transplant it."""
    setting = setting_for(options, None, cell.seed)
    setting = replace(setting, base=reshape_base(setting.base, cell.params["layers"]))
    setup = make_training_setup(setting, cache=options.bases, seed=cell.seed)
    frame = measure_halves(options, setup, home, layers=True, recovery=True)
    return frame.assign(width=setting.base.width, parameters=in_layers(setting.base))


def reshape_base(base: BaseConfig, layers: int) -> BaseConfig:
    """Give a base another depth and a width at which its layers hold as many parameters, within 1%.

    The width goes with 1 / sqrt(layers), in steps that rotary embeddings allow (an even number a head); the
    MLP takes up what is left over.

    Raises:
        InputError: there is no such width.
    """
    step = 2 * base.heads
    width = step * max(1, round(base.width * (base.layers / layers) ** 0.5 / step))
    mlp = round((in_layers(base) / layers - 4 * width**2) / (3 * width))
    made = replace(base, layers=layers, width=width, mlp=mlp)
    if mlp < width or abs(in_layers(made) / in_layers(base) - 1) > 0.01:
        raise InputError(f"--depths {layers}: no width gives it as many parameters; choose fewer layers")
    return made


def in_layers(base: BaseConfig) -> int:
    """Count the weights of attention and MLPs: W_Q, W_K, W_V, W_O, and the three of a gated MLP."""
    return base.layers * (4 * base.width**2 + 3 * base.width * base.mlp)
