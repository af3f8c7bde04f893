"""The experiment mitigations: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.mitigations import cells, numbers, page
from interp.verdicts.diagnosis import RULES

EXPERIMENT = Experiment.of_grid("mitigations", cells, numbers, page, rules=RULES)
