"""The experiment stored_or_suppressed: its steps, numbers and page put together."""

from __future__ import annotations

from operator import methodcaller

from analyses.common.experiment import Experiment
from analyses.experiments.attention_imbalance.checkpoints import load_inputs
from analyses.experiments.stored_or_suppressed import numbers, page, stages

EXPERIMENT = Experiment(
    name="stored_or_suppressed",
    resolve=methodcaller("resolved"),
    load=load_inputs,
    steps=stages.measure_seeds,
    summarise=numbers.summarise,
    study=page.study,
)
