"""The experiment long_tail_domain: its grid, numbers and page put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.common.experiment import Experiment
from analyses.common.numbers import summarise_seeds
from analyses.experiments.long_tail_domain.numbers import bounds, one_seed
from analyses.experiments.long_tail_domain.page import page

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Study
from analyses.experiments.long_tail_domain.cells import cells, measure
from analyses.experiments.long_tail_domain.options import LongTailDomainOptions


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return each arm's accuracy and attention in the domain and outside, and what arms differ by."""

    return summarise_seeds(frame, one_seed, bounds)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and the quartiles as curves."""
    return page(frame, results)


EXPERIMENT = Experiment(
    name="long_tail_domain",
    options=LongTailDomainOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
