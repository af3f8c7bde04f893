"""The experiment mixture_sweep: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.mixture_sweep import cells, numbers, page

EXPERIMENT = Experiment.of_grid("mixture_sweep", cells, numbers, page)
