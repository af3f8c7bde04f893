"""The experiment planted_truth: its steps, numbers and page put together."""

from __future__ import annotations

from analyses.common.experiment import Experiment
from analyses.experiments.planted_truth import numbers, page, stages

EXPERIMENT = Experiment(
    name="planted_truth", steps=stages.measure_seeds, summarise=numbers.summarise, study=page.study
)
