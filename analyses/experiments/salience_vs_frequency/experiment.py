"""The experiment salience_vs_frequency: its grid, numbers and page put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.common.experiment import Experiment
from analyses.experiments.salience_vs_frequency.numbers import summarise_survival
from analyses.experiments.salience_vs_frequency.page import page

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Study
from analyses.experiments.salience_vs_frequency.cells import cells, measure
from analyses.experiments.salience_vs_frequency.options import SalienceVsFrequencyOptions


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return storage by level, survival by arm and level, and how well each predictor foretells it."""
    return summarise_survival(frame)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and curves."""
    return page(results, real=str(frame["level"].iloc[0]).startswith("q"))


EXPERIMENT = Experiment(
    name="salience_vs_frequency",
    options=SalienceVsFrequencyOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
