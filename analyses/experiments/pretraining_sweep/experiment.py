"""The experiment pretraining_sweep: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.pretraining_sweep import cells, numbers, page

EXPERIMENT = Experiment.of_grid("pretraining_sweep", cells, numbers, page)
