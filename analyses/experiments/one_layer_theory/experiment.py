"""The experiment one_layer_theory: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.one_layer_theory import cells, numbers, page

EXPERIMENT = Experiment(
    name="one_layer_theory",
    cells=cells.cells,
    measure=cells.measure,
    summarise=numbers.summarise,
    study=page.study,
)
