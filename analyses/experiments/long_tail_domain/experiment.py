"""The experiment long_tail_domain: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.long_tail_domain import cells, numbers, page

EXPERIMENT = Experiment.of_grid("long_tail_domain", cells, numbers, page)
