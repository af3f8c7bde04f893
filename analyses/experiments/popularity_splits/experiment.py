"""The experiment popularity_splits: its grid, numbers and page put together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.common.experiment import Experiment
from analyses.experiments.popularity_splits.cells import cells, measure
from analyses.experiments.popularity_splits.downstream import analyse, export_all
from analyses.experiments.popularity_splits.numbers import summarise
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.page import study as page
from analyses.experiments.popularity_splits.preparation import prepare as prepare_all

if TYPE_CHECKING:
    import pandas as pd

    from finetune.common.errors import LeftOut
    from interp.reports.pages.study import Study


def prepare(options: PopularitySplitsOptions, run: Path) -> list[LeftOut]:
    """Make what cells share: facts with their popularity, their parts, the base and what it knows."""
    return prepare_all(options, run)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    return page(frame, results)


def finish(options: PopularitySplitsOptions, frame: pd.DataFrame, run: Path) -> dict[str, Any]:
    """Hand the chosen checkpoints on, look inside them, and return what the manifest tells of that."""
    handed = export_all(options, frame, run)
    reports = analyse(options, handed, run)
    return {"handed_on": sorted(handed), "reports": reports}


EXPERIMENT = Experiment(
    name="popularity_splits",
    options=PopularitySplitsOptions,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
    prepare=prepare,
    finish=finish,
)


run = EXPERIMENT.run
show = EXPERIMENT.show
