"""The experiment selection_contest: its grid, numbers and page put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.common.experiment import Experiment
from analyses.experiments.selection_contest.numbers import summarise_contest
from analyses.experiments.selection_contest.page import page

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Study
from analyses.experiments.selection_contest.cells import cells, measure
from analyses.experiments.selection_contest.options import SelectionContestOptions


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return each set's accuracy, what it is ahead of popular, random and all facts by, and its verdicts."""
    return summarise_contest(frame)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and curves."""
    return page(results)


EXPERIMENT = Experiment(
    name="selection_contest",
    options=SelectionContestOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
