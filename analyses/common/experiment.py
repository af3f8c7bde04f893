"""The shell that every analysis runs in: its options checked, steps measured, numbers and a page written.

1. Check the options and load what they name, before anything is written.
2. Own the run directory; a finished one is returned as it is.
3. Measure: a grid of cells, or steps of the experiment's own, each of which leaves what a later start reads.
4. Sum up rows as numbers with intervals: ``facts.parquet``, ``results.json``.
5. Write what the numbers decide (``claims.json``) and the page, and mark the run as finished.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from analyses.common.grid import CellFailure, is_input_error, run_cells
from analyses.common.grid_cells import GridCell, read_cells
from analyses.common.options import FactOptions
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.common.distributed import processes
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import read_json, write_frame, write_json
from finetune.common.messages import printable
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.study import Study
from interp.reports.pages.study_files import load_study
from interp.reports.pages.study_page import headline, write_study
from interp.reports.read.results import Results

CELLS = "cells/"  # where cells are, below a run


class NothingMeasured(InputError):
    """No cell could be run, for a reason that its own directory tells."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was loaded before anything is written, and what the run's configuration and inputs tell of it."""

    inputs: Any = None
    config: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str | None] = field(default_factory=dict)


def load_digests(options: Any) -> Loaded:
    """Read real facts, where options name some, for what they hold: with changed facts it is another run."""
    real = isinstance(options, FactOptions) and options.real
    return Loaded(config={"facts_digests": options.digests()}) if real else Loaded()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What steps left: rows, further files by name, what the manifest tells, and whether all was measured.

    ``found`` is what numbers and the page are made of, where that is not the rows.
    """

    rows: pd.DataFrame | None = None
    found: Any = None
    files: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()
    complete: bool = True


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What makes an experiment, found as ``EXPERIMENT`` in ``analyses.experiments.<name>.experiment``.

    A grid gives ``cells``, which lists those of some options, ``measure``, which runs one in a directory of
    its own and returns its rows, and ``prepare``, which makes what cells share and says what it left out.
    Others give ``steps``. ``summarise`` makes numbers of all rows and ``study`` the page of both; ``publish``
    writes another page. ``finish`` goes on from the rows and returns what the manifest is to tell of that.

    ``rules`` decide its numbers besides the options; a run that another rule began is not continued.
    ``resolve`` completes options, ``load`` reads what they name and says what that holds, and ``accept``
    refuses, now that the directory is known, what cannot be run there. A ``shared`` experiment may run in
    several processes, and one that ``repeats`` runs again where it is finished.
    """

    name: str
    summarise: Callable[[Any], dict[str, Any]]
    study: Callable[[Any, Results], Study] | None = None
    cells: Callable[[Any], Sequence[GridCell]] = lambda options: ()
    measure: Callable[[Any, GridCell, Path], pd.DataFrame] | None = None
    rules: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Any, Path], Sequence[LeftOut]] = lambda options, run: ()
    steps: Callable[[Any, Any, RunDirectory], Measured] | None = None
    finish: Callable[[Any, Any, RunDirectory], Mapping[str, Any]] | None = None
    resolve: Callable[[Any], Any] = lambda options: options
    load: Callable[[Any], Loaded] = load_digests
    accept: Callable[[Any, Any, RunDirectory], Any] = lambda options, inputs, run: inputs
    publish: Callable[[Path, Any], object] | None = None
    headline: Callable[[Path], object] = lambda out: headline(load_study(out))
    following: Callable[[Path], Sequence[str]] = lambda out: ()
    home: Callable[[Any], Path] = attrgetter("out")
    shared: bool = False
    repeats: bool = False

    @classmethod
    def of_grid(
        cls, name: str, cells: ModuleType, numbers: ModuleType, page: ModuleType, **more: Any
    ) -> Experiment:
        """Put a grid together of its modules.

        Args:
            name: the experiment's.
            cells: the module of its ``cells`` and ``measure``.
            numbers: the module of its ``summarise``.
            page: the module of its ``study``.
            more: the experiment's further fields.
        """
        parts = {"cells": cells.cells, "measure": cells.measure, "study": page.study}
        return cls(name=name, summarise=numbers.summarise, **parts, **more)

    def show(self, out: Path) -> object:
        """Make what a terminal shows of a run; cells that could not be run are said on standard error."""
        for item in read_json(out / "manifest.json").get("left_out", ()):
            if self.steps is None and item["where"].startswith(CELLS):
                print(printable(f"not run: {item['where']}: {item['reason']}", 500), file=sys.stderr)
        return self.headline(out)

    def run(self, options: Any) -> Path:
        """Run the experiment, or continue it, and return the run directory.

        Raises:
            InputError: an option or an input is wrong, or nothing could be measured.
        """
        options = self.resolve(options)
        options.check()
        loaded = self.load(options)
        config = {**options.config(), **self.rules, **loaded.config}
        models = {name: source and resolve_checkpoint(source) for name, source in loaded.sources.items()}
        run = RunDirectory(self.home(options), config, analysis=self.name, inputs=models)
        if run.finished and not self.repeats:
            return run.path
        inputs = self.accept(options, loaded.inputs, run)
        team = processes() if self.shared else None
        if team:
            team.wait()
        writes = team is None or team.is_main
        try:
            if writes:
                run.write(seeds=seeds_of(options))
            made = self.steps(options, inputs, run) if self.steps else self._measure_cells(options, run)
        except InputError as error:
            if not isinstance(error, NothingMeasured):
                run.discard()
            raise
        if writes:
            self._write(options, made, run)
        if team:
            team.wait()
        return run.path

    def _measure_cells(self, options: Any, run: RunDirectory) -> Measured:
        """Run a grid; cells that fail are listed on the page, and the same command tries them again.

        Raises:
            InputError: no cell could be run.
        """
        cells = list(self.cells(options))
        details = {"cells": len(cells), "setting": options.setting}
        run.write(seeds=options.seeds, **details)
        with run.timed("preparing"):
            set_aside = self.prepare(options, run.path)
        with run.timed("cells"):
            failures = run_cells(self.name, options, cells, run.path, options.machines)
        rows = read_cells(run.path, cells)
        if rows.empty and all(is_input_error(failure.reason) for failure in failures):
            raise InputError(failures[0].reason.removeprefix("InputError: "))
        if rows.empty:
            raise NothingMeasured(
                f"--out {options.out}: no cell of the grid could be run; the first one's reason: "
                f"{failures[0].reason} (the rest is in cells/*/error.txt)"
            )
        left_out = (*set_aside, *map(_left_out, failures))
        return Measured(rows=rows, details=details, left_out=left_out, complete=not failures)

    def _write(self, options: Any, made: Measured, run: RunDirectory) -> None:
        """Write numbers, tables and the page; the manifest last, marked finished."""
        found = made.rows if made.found is None else made.found
        with run.timed("summary"):
            results = self.summarise(found)
            tables = {} if made.rows is None else {"facts.parquet": made.rows}
            for name, held in {**tables, "results.json": results, **made.files}.items():
                (write_frame if isinstance(held, pd.DataFrame) else write_json)(run.path / name, held)
        details = {"seeds": seeds_of(options), **made.details, "left_out": list(dict.fromkeys(made.left_out))}
        run.write(**details)  # pages print the manifest, so it must be there before it is finished
        if self.finish is not None:
            with run.timed("finishing"):
                more = self.finish(options, found, run)
                details |= {**more, "left_out": [*details["left_out"], *more.get("left_out", ())]}
            run.write(**details)
        with run.timed("report"):
            if self.publish is not None:
                self.publish(run.path, results)
            elif self.study is not None:
                write_study(run.path, self.study(found, Results.of(results)))
        run.write(finished=made.complete, **details)


def seeds_of(options: Any) -> tuple[int, ...]:
    """Return the seeds of a run, whose options may have but one."""
    return getattr(options, "seeds", None) or (options.seed,)


def _left_out(failure: CellFailure) -> LeftOut:
    reason = f"{failure.reason} (see error.txt there; the same command tries again)"
    return LeftOut(where=CELLS + failure.cell.key, reason=reason)
