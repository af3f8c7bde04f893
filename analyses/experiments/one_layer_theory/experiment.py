"""The experiment one_layer_theory: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.one_layer_theory import cells, numbers, page

EXPERIMENT = Experiment.of_grid("one_layer_theory", cells, numbers, page)
