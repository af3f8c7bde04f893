"""Cells of mitigations: what is trained, and what each cell measures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analyses.common.grid_cells import GridCell
from analyses.experiments.mitigations.case import load_case
from analyses.experiments.mitigations.options import MitigationsOptions
from analyses.experiments.mitigations.treatments import NONE, rows


def cells(options: MitigationsOptions) -> list[GridCell]:
    """One cell per cure and seed; seeds vary first, so that processes do not wait for one case."""
    return [GridCell.of(seed, treatment=cure) for cure in options.cures for seed in options.seeds]


def measure(options: MitigationsOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Make one cure of one seed's uncured arm and ask it everything."""
    case = load_case(options, cell.seed, home.parents[1])
    cure = cell.params["treatment"]
    frame = rows(case, cure, home)
    frame["training_seconds"] = case.seconds
    frame["verdict"] = None
    if cure == NONE:
        frame["verdict"] = frame["fact_id"].map(case.verdicts().set_index("fact_id")["verdict"])
    frame["verdict"] = frame["verdict"].astype("string")
    return frame
