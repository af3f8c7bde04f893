"""The experiment depth_sweep: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.depth_sweep.cells import cells, measure
from analyses.experiments.depth_sweep.numbers import summarise
from analyses.experiments.depth_sweep.options import DepthSweepOptions
from analyses.experiments.depth_sweep.page import study

EXPERIMENT = Experiment(
    name="depth_sweep",
    options=DepthSweepOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
