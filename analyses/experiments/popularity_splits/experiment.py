"""The experiment popularity_splits: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment, Loaded
from analyses.experiments.popularity_splits import cells, downstream, numbers, page, preparation

EXPERIMENT = Experiment(
    name="popularity_splits",
    load=lambda options: Loaded(sources=dict(options.models)),
    cells=cells.cells,
    measure=cells.measure,
    prepare=preparation.prepare,
    summarise=numbers.summarise,
    study=page.study,
    finish=downstream.finish,
)
