"""The experiment depth_sweep: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.depth_sweep import cells, numbers, page

EXPERIMENT = Experiment.of_grid("depth_sweep", cells, numbers, page)
