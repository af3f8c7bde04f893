"""An experiment: a grid of cells measured one by one, then summed up as claims that its numbers decide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analyses.common.grid import CellFailure, is_input_error, run_cells
from analyses.common.grid_cells import GridCell, read_cells
from finetune.checkpoints.paths import resolve_all
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import atomic_file, read_json, write_json
from finetune.common.messages import printable
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.study import headline
from interp.reports.pages.study_page import write_study

if TYPE_CHECKING:
    from interp.reports.pages.study import Study
from analyses.common.options import GridOptions

CELLS = "cells/"  # where cells are, below a run


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What makes an experiment, found as ``EXPERIMENT`` in ``analyses.experiments.<name>.experiment``.

    ``cells`` lists the grid of some options; ``measure`` runs one cell in a directory of its own and returns
    its rows; ``summarise`` makes numbers with intervals of all rows; ``study`` makes the page of both.
    ``prepare`` makes what cells share before any of them runs, and says what it left out; ``finish`` goes on
    from all rows, and returns what the manifest is to tell of that.
    """

    name: str
    options: type[Any]
    cells: Callable[[Any], Sequence[GridCell]]
    measure: Callable[[Any, GridCell, Path], pd.DataFrame]
    summarise: Callable[[pd.DataFrame], dict[str, Any]]
    study: Callable[[pd.DataFrame, dict[str, Any]], Study]
    prepare: Callable[[Any, Path], Sequence[LeftOut]] = lambda options, run: ()
    finish: Callable[[Any, pd.DataFrame, Path], dict[str, Any]] = lambda options, frame, run: {}

    def show(self, out: Path) -> object:
        """Make what a terminal shows of a run; cells that could not be run are said on standard error."""
        failed = (
            i for i in read_json(out / "manifest.json").get("left_out", ()) if i["where"].startswith(CELLS)
        )
        for item in failed:
            print(printable(f"not run: {item['where']}: {item['reason']}", 500), file=sys.stderr)
        return headline(self.load_study(out))

    def load_study(self, out: Path) -> Study:
        """Make the page of a run directory again."""
        return self.study(pd.read_parquet(out / "facts.parquet"), read_json(out / "results.json"))

    def run(self, options: GridOptions) -> Path:
        """Run the experiment, or continue it, and return the run directory; see :func:`run_experiment`."""
        return run_experiment(self, options)


def experiment_named(name: str) -> Experiment:
    """Import an experiment by its script's name, in a worker's process too."""
    experiment: Experiment = import_module(f"analyses.experiments.{name}.experiment").EXPERIMENT
    return experiment


def run_experiment(experiment: Experiment, options: GridOptions) -> Path:
    """Run an experiment, or continue it, and return the run directory.

    Cells that failed are listed on the page and in the manifest; the run then counts as unfinished, so that
    the same command tries them again.

    Raises:
        InputError: an option is wrong, or no cell could be run.
    """

    options.check()
    models = resolve_all(dict(getattr(options, "models", ())))
    directory = RunDirectory(options.out, options.config(), analysis=experiment.name, inputs=models)
    if directory.finished:
        return options.out
    cells = list(experiment.cells(options))
    details: dict[str, Any] = {"seeds": options.seeds, "cells": len(cells), "setting": options.setting}
    directory.write(**details)
    try:
        with directory.timed("preparing"):
            set_aside = list(experiment.prepare(options, directory.path))
    except InputError:
        directory.discard()
        raise
    with directory.timed("cells"):
        failures = run_cells(experiment.name, options, cells, directory.path, options.machines)
    frame = read_cells(directory.path, cells)
    if frame.empty:
        if all(is_input_error(failure.reason) for failure in failures):
            directory.discard()
            raise InputError(failures[0].reason.removeprefix("InputError: "))
        raise InputError(
            f"--out {options.out}: no cell of the grid could be run; the first one's reason: "
            f"{failures[0].reason} (the rest is in cells/*/error.txt)"
        )
    results = experiment.summarise(frame)
    with atomic_file(directory.path / "facts.parquet") as path:
        frame.to_parquet(path)
    write_json(directory.path / "results.json", results)
    details["left_out"] = [*set_aside, *map(_left_out, failures)]
    directory.write(**details)
    with directory.timed("finishing"):
        details |= experiment.finish(options, frame, directory.path)
    directory.write(**details)
    write_study(directory.path, experiment.study(frame, results))
    directory.write(finished=not failures, **details)
    return options.out


def load_study(name: str, out: Path) -> Study:
    """Make the page of an experiment's run directory again."""
    return experiment_named(name).load_study(out)


def _left_out(failure: CellFailure) -> LeftOut:
    where = CELLS + failure.cell.key
    return LeftOut(
        where=where, reason=f"{failure.reason} (see error.txt there; the same command tries again)"
    )
