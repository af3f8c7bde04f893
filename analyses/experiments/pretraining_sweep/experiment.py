"""The experiment pretraining_sweep: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.pretraining_sweep.cells import cells, measure
from analyses.experiments.pretraining_sweep.numbers import summarise
from analyses.experiments.pretraining_sweep.options import PretrainingSweepOptions
from analyses.experiments.pretraining_sweep.page import study

EXPERIMENT = Experiment(
    name="pretraining_sweep",
    options=PretrainingSweepOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
