"""Cells of one_layer_theory: what is trained, and what each cell measures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analyses.common.grid_cells import GridCell
from analyses.experiments.one_layer_theory.options import OneLayerTheoryOptions
from analyses.experiments.one_layer_theory.rows import deep_rows, one_layer_rows
from analyses.experiments.one_layer_theory.toy_model import Geometry

GEOMETRIES: tuple[Geometry, ...] = ("random", "orthonormal")
DEEP = "deep"


def cells(options: OneLayerTheoryOptions) -> list[GridCell]:
    """One cell per part and seed; the deep ones come first, for they may need a base."""
    return [GridCell.of(seed, part=part) for part in (DEEP, *GEOMETRIES) for seed in options.seeds]


def measure(options: OneLayerTheoryOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Measure one part; ``kind`` says what a row is: a gradient check, a fact, a step or a held-out fact."""
    part, seed = cell.params["part"], cell.seed
    if part == DEEP:
        return deep_rows(
            options, seed=seed, examples=options.sampled, watched=options.watched, rate=options.step_rate
        )
    return one_layer_rows(options, options.shape, part, seed=seed, examples=options.sampled)
