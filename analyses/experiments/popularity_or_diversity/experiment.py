"""The experiment popularity_or_diversity: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.popularity_or_diversity import cells, numbers, page

EXPERIMENT = Experiment(
    name="popularity_or_diversity",
    cells=cells.cells,
    measure=cells.measure,
    summarise=numbers.summarise,
    study=page.study,
)
