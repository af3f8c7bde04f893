"""The experiment mixture_sweep: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.mixture_sweep.cells import cells, measure
from analyses.experiments.mixture_sweep.numbers import summarise
from analyses.experiments.mixture_sweep.options import MixtureSweepOptions
from analyses.experiments.mixture_sweep.page import study

EXPERIMENT = Experiment(
    name="mixture_sweep",
    options=MixtureSweepOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
