"""An experiment: a grid of cells measured one by one, then summed up as claims that its numbers decide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from analyses.lab.grid import Cell, Engine, Failure, Machines, hopeless, read_cells, run_cells
from analyses.making import Common, Making, RealFacts
from analyses.settings import FEWEST_FACTS
from analyses.shell import launch
from finetune.facts import InputError, LeftOut
from finetune.files import atomic_file, read_json, write_json
from finetune.messages import printable
from finetune.options import Within, refuse_unread
from finetune.presets import WORLDS

if TYPE_CHECKING:
    import pandas as pd

    from interp.study import Study

CELLS = "cells/"  # where cells are, below a run
MACHINES = ("engine", "workers", "address", "gpus", "retries")  # where cells run cannot change a number


@dataclass(frozen=True, kw_only=True)
class OnMachines(Common):
    """How much of an experiment is run, and where."""

    full: bool = False
    """The large size: more settings, for several machines or a night."""
    engine: Engine = "local"
    """Processes of this machine, or a Ray cluster."""
    workers: Annotated[int, Within(1, 4096)] | None = None
    """How many cells run at a time (default: all cores)."""
    threads: Annotated[int, Within(1, 4096)] = 1
    """Threads of each cell; results may differ in rounding between numbers of threads, not of workers."""
    address: str | None = None
    """A running Ray cluster's address ("auto" finds one); without it Ray is started here."""
    gpus: Annotated[float, Within(0, 4096)] = 0.0
    """GPUs of each cell on a Ray cluster, or a share of one (0.25: four cells on one)."""
    retries: Annotated[int, Within(0, 1000)] = 1
    """How often a failed cell is tried again before the grid goes on without it."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.engine != "ray":
            refuse_unread(self, ("address", "gpus"), "goes with --engine ray")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {k: v for k, v in super().config().items() if k not in MACHINES}

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        return ""

    @property
    def machines(self) -> Machines:
        """Where cells run."""
        return Machines(threads=self.threads, **{name: getattr(self, name) for name in MACHINES})


@dataclass(frozen=True, kw_only=True)
class LabOptions(OnMachines, Making):
    """Options of an experiment that trains models in embedded worlds."""

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from; none for the preset's.

        Half of an experiment's time would go into a rate that hardly ever wins: of the preset's two, the
        smaller one validates best in 11 of the main job's 12 arms (``long-tail``, three seeds).
        """
        one = self.world != "tiny" and self.method == "full" and not self.full
        return self.learning_rates or ((min(WORLDS[self.world].tune.learning_rates),) if one else ())

    @property
    def place(self) -> str:
        """Which world is experimented on."""
        return f"world {self.world}"

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        return self.told(self.place)

    def told(self, place: str) -> str:
        """Name what is experimented on, and how arms are made where it is not as usual."""
        told = [place, "LoRA" if self.method == "lora" else "full fine-tuning"]
        if self.keep != "best":
            told.append("equal steps" if self.keep == "last" else f"equal loss ({self.until_loss:g} nats)")
        if self.match != "none":
            told.append(f"{self.match} mix matched")
        return ", ".join(told)


@dataclass(frozen=True, kw_only=True)
class FactsOptions(RealFacts, LabOptions):
    """Options of an experiment that can also be made on real facts."""

    facts: str | None = None
    """Real facts instead of a world: a file (PopQA or EntityQuestions layout, or your own), or "popqa"."""

    @property
    def real(self) -> tuple[str, ...]:
        """The source of real facts, if there is one."""
        return () if self.facts is None else (self.facts,)

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.limit is not None and self.limit < FEWEST_FACTS:
            raise InputError(f"--limit {self.limit}: too few facts to split; give {FEWEST_FACTS} or more")

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        if self.facts is None:
            return super().setting
        own = f" as {self.phrasebook.name} words them" if self.phrasebook else ""
        return self.told(Path(self.facts).stem + own)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What makes an experiment, found as ``EXPERIMENT`` in the module ``analyses.<name>``.

    ``cells`` lists the grid of some options; ``measure`` runs one cell in a directory of its own and returns
    its rows; ``summarise`` makes numbers with intervals of all rows; ``study`` makes the page of both.
    ``prepare`` makes what cells share before any of them runs, and says what it left out; ``finish`` goes on
    from all rows, and returns what the manifest is to tell of that.
    """

    name: str
    options: type[Any]
    cells: Callable[[Any], Sequence[Cell]]
    measure: Callable[[Any, Cell, Path], pd.DataFrame]
    summarise: Callable[[pd.DataFrame], dict[str, Any]]
    study: Callable[[pd.DataFrame, dict[str, Any]], Study]
    prepare: Callable[[Any, Path], Sequence[LeftOut]] = lambda options, run: ()
    finish: Callable[[Any, pd.DataFrame, Path], dict[str, Any]] = lambda options, frame, run: {}

    def run(self, options: OnMachines) -> Path:
        """Run the experiment, or continue it, and return the run directory; see :func:`conduct`."""
        return conduct(self, options)


def conduct(experiment: Experiment, options: OnMachines) -> Path:
    """Run an experiment, or continue it, and return the run directory.

    Cells that failed are listed on the page and in the manifest; the run then counts as unfinished, so that
    the same command tries them again.

    Raises:
        InputError: an option is wrong, or no cell could be run.
    """
    from finetune.manifest import RunDirectory
    from interp.study_page import write_study

    options.check()
    models = dict(getattr(options, "models", ()))
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
        if all(hopeless(failure.reason) for failure in failures):
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


def main(name: str, *, arguments: Callable[[], Sequence[str]] | None = None) -> int:
    """Run ``analyses.<name>`` from the command line and print its finding and where the report is.

    ``arguments`` is as in :func:`analyses.shell.launch`.
    """
    # The module of this name and the script that was started are two; cells find the former.
    experiment: Experiment = import_module(f"analyses.{name}").EXPERIMENT
    return launch(experiment.options, partial(conduct, experiment), partial(_show, name), arguments=arguments)


def load_study(name: str, out: Path) -> Study:
    """Make the page of an experiment's run directory again."""
    import pandas as pd

    experiment: Experiment = import_module(f"analyses.{name}").EXPERIMENT
    return experiment.study(pd.read_parquet(out / "facts.parquet"), read_json(out / "results.json"))


def _show(name: str, out: Path) -> object:
    from interp.study import headline

    failed = (i for i in read_json(out / "manifest.json").get("left_out", ()) if i["where"].startswith(CELLS))
    for item in failed:
        print(printable(f"not run: {item['where']}: {item['reason']}", 500), file=sys.stderr)
    return headline(load_study(name, out))


def _left_out(failure: Failure) -> LeftOut:
    where = CELLS + failure.cell.key
    return LeftOut(
        where=where, reason=f"{failure.reason} (see error.txt there; the same command tries again)"
    )
