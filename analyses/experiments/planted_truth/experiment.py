"""The experiment planted_truth: its grid, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.planted_truth import cells, numbers, page
from interp.verdicts.diagnosis import RULES

EXPERIMENT = Experiment.of_grid("planted_truth", cells, numbers, page, rules=RULES)
