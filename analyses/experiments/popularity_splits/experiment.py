"""The experiment popularity_splits: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment, Loaded
from analyses.experiments.popularity_splits import cells, downstream, numbers, page, preparation

EXPERIMENT = Experiment.of_grid(
    "popularity_splits",
    cells,
    numbers,
    page,
    load=lambda options: Loaded(sources=dict(options.models)),
    prepare=preparation.prepare,
    finish=downstream.finish,
)
