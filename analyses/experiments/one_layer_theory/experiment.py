"""The experiment one_layer_theory: its grid, numbers and page put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.common.experiment import Experiment
from analyses.experiments.one_layer_theory.numbers import summarise_parts
from analyses.experiments.one_layer_theory.page import page

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Study
from analyses.experiments.one_layer_theory.cells import cells, measure
from analyses.experiments.one_layer_theory.options import OneLayerTheoryOptions


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the gradients' gap, and for the one-layer model and the deep one what m says and what moved."""
    return summarise_parts(frame)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    return page(results)


EXPERIMENT = Experiment(
    name="one_layer_theory",
    options=OneLayerTheoryOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
