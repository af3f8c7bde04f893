"""The experiment selection_contest: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.selection_contest import cells, numbers, page
from interp.verdicts.diagnosis import RULES

EXPERIMENT = Experiment.of_grid("selection_contest", cells, numbers, page, rules=RULES)
