"""The experiment mitigations: its grid, numbers and page put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyses.common.experiment import Experiment
from analyses.experiments.mitigations.numbers import summarise
from analyses.experiments.mitigations.page import study

if TYPE_CHECKING:
    import pandas as pd
from analyses.experiments.mitigations.cells import cells, measure
from analyses.experiments.mitigations.options import MitigationsOptions


def _summarise(frame: pd.DataFrame) -> dict:  # type: ignore[type-arg]

    return summarise(frame)


def _study(frame: pd.DataFrame, results: dict):  # type: ignore[type-arg,no-untyped-def]

    return study(frame, results)


EXPERIMENT = Experiment(
    name="mitigations",
    options=MitigationsOptions,
    cells=cells,
    measure=measure,
    summarise=_summarise,
    study=_study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
