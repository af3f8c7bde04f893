"""The experiment popularity_splits: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.popularity_splits import cells, downstream, numbers, page, preparation
from analyses.experiments.popularity_splits.input_digests import load

EXPERIMENT = Experiment.of_grid(
    "popularity_splits",
    cells,
    numbers,
    page,
    load=load,
    prepare=preparation.prepare,
    finish=downstream.finish,
)
