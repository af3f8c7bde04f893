"""The experiment popularity_or_diversity: its grid, numbers and page put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.common.experiment import Experiment
from analyses.common.numbers import summarise_seeds
from analyses.experiments.popularity_or_diversity.numbers import bounds, one_seed
from analyses.experiments.popularity_or_diversity.page import page

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Study
from analyses.experiments.popularity_or_diversity.cells import cells, measure
from analyses.experiments.popularity_or_diversity.options import PopularityOrDiversityOptions


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy in every cell of the cross, each factor's effect, and what gradients have in common."""

    return summarise_seeds(frame, one_seed, bounds)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    return page(frame, results)


EXPERIMENT = Experiment(
    name="popularity_or_diversity",
    options=PopularityOrDiversityOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
