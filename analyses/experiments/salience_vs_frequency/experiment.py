"""The experiment salience_vs_frequency: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.salience_vs_frequency import cells, numbers, page

EXPERIMENT = Experiment.of_grid("salience_vs_frequency", cells, numbers, page)
