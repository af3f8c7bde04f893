"""A grid of runs: cells that know nothing of each other, run here, in local processes, or on a Ray cluster.

A finished cell leaves ``cells/<key>/facts.parquet``, so that a grid which was stopped goes on where it was. A
cell that fails is tried again, and if it fails again the rest of the grid is finished without it. Every cell
runs on the same number of threads wherever it runs, so that all engines give the same results.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch

from analyses.common.grid_cells import RUNNING, GridCell, facts_of, is_finished, tidy
from analyses.common.grid_options import Machines
from analyses.common.progress_board import live_board
from finetune.common.checksums import recorded_file
from finetune.common.errors import InputError
from finetune.common.files import atomic_file
from finetune.common.progress import QUIET, prepare_process


@dataclass(frozen=True, kw_only=True)
class CellFailure:
    """A cell that could not be run, and why, in one line."""

    cell: GridCell
    reason: str


def run_cells(
    name: str, options: Any, cells: Sequence[GridCell], run: Path, machines: Machines
) -> list[CellFailure]:
    """Run the unfinished cells of an experiment; return those that failed for good.

    Args:
        name: the experiment's folder in ``analyses.experiments``.
        options: the experiment's.
        cells: all cells of the grid.
        run: the run directory.
        machines: where cells run, and how often a failed one is run again.

    Raises:
        InputError: two cells of one name, or an engine that is not installed.
    """
    if len({cell.key for cell in cells}) < len(cells):
        raise InputError(f"{name}: two cells of the grid have one name; name what differs between them")
    tidy(run, cells)
    reasons: dict[str, str] = {}
    for attempt in range(machines.retries + 1):
        waiting = [c for c in cells if not is_finished(run, c) and not is_input_error(reasons.get(c.key, ""))]
        if not waiting:
            break
        again = "" if not attempt else f", attempt {attempt + 1}"
        with live_board(f"Running cells of {name}{again}", cells, run) as ended:
            for cell, reason in _engine(machines)(name, options, waiting, run, machines):
                reasons[cell.key] = reason
                ended(cell, reason)
    return [CellFailure(cell=c, reason=reasons.get(c.key, "")) for c in cells if not is_finished(run, c)]


def run_cell(name: str, options: Any, cell: GridCell, run: Path, threads: int) -> str:
    """Run one cell and keep its rows; return why it failed, or nothing.

    Args:
        name: the experiment's folder in ``analyses.experiments``.
        options: the experiment's.
        cell: what to run.
        run: the run directory.
        threads: how many PyTorch may use.
    """
    prepare_process(quiet=True)
    torch.set_num_threads(threads)
    home = facts_of(run, cell).parent
    home.mkdir(parents=True, exist_ok=True)
    (home / RUNNING).touch()
    try:
        frame = import_module(f"analyses.experiments.{name}.experiment").EXPERIMENT.measure(
            options, cell, home
        )
        with recorded_file(facts_of(run, cell)) as path:
            frame.to_parquet(path)
    except Exception as error:
        with atomic_file(home / "error.txt") as path:
            path.write_text(traceback.format_exc(), encoding="utf-8")
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        (home / RUNNING).unlink(missing_ok=True)
    (home / "error.txt").unlink(missing_ok=True)
    return ""


def is_input_error(reason: str) -> bool:
    """Whether trying again would end in the same way: what is wrong is what was asked for."""
    return reason.startswith(InputError.__name__)


Run = Callable[[str, Any, Sequence[GridCell], Path, Machines], Iterator[tuple[GridCell, str]]]


def _engine(machines: Machines) -> Run:
    if machines.engine == "ray":
        return _on_ray
    return _here if machines.at_once == 1 else _in_processes


def _here(
    name: str, options: Any, cells: Sequence[GridCell], run: Path, machines: Machines
) -> Iterator[tuple[GridCell, str]]:
    with _silent():
        for cell in cells:
            yield cell, run_cell(name, options, cell, run, machines.threads)


def _in_processes(
    name: str, options: Any, cells: Sequence[GridCell], run: Path, machines: Machines
) -> Iterator[tuple[GridCell, str]]:
    others = set(active_children())
    workers = min(machines.at_once, len(cells))
    with (
        _silent(),
        ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_end_with, initargs=(os.getpid(),)
        ) as pool,
    ):
        waiting = {pool.submit(run_cell, name, options, cell, run, machines.threads): cell for cell in cells}
        try:
            for future in as_completed(waiting):
                # A worker that died, killed for its memory say, takes the pool with it: all of it is retried.
                error = future.exception()
                yield (
                    waiting[future],
                    future.result() if error is None else f"{type(error).__name__}: {error}",
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # Who asked this process to end did not ask its workers, which would finish their cells first.
            for worker in set(active_children()) - others:
                worker.terminate()
            raise


def _end_with(parent: int) -> None:
    """Let this worker end soon after its parent, which may be killed without a word.

    Otherwise it would finish its cell beside the run that continues, in the same directory.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_ray(
    name: str, options: Any, cells: Sequence[GridCell], run: Path, machines: Machines
) -> Iterator[tuple[GridCell, str]]:
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray: Ray is not installed; pip install 'factscope[ray]'") from error
    started = not ray.is_initialized()
    if started:
        here = {"num_cpus": machines.at_once * machines.threads, "include_dashboard": False}
        variables = {QUIET: "1", "TOKENIZERS_PARALLELISM": "false"}
        ray.init(
            **({"address": machines.address} if machines.address else here),
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": variables},
        )
    try:
        remote = ray.remote(num_cpus=machines.threads, num_gpus=machines.gpus, max_retries=0)(run_cell)
        where = run.resolve()  # a Ray worker has a working directory of its own
        waiting = {remote.remote(name, options, cell, where, machines.threads): cell for cell in cells}
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting))
            cell = waiting.pop(ready)
            try:
                yield cell, ray.get(ready)
            except ray.exceptions.RayError as error:
                yield cell, f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        if started:
            ray.shutdown()


class _silent:
    """Keep the bars of single cells off the terminal, on which the grid has one."""

    def __enter__(self) -> None:
        self.before = os.environ.get(QUIET)
        os.environ[QUIET] = "1"

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ[QUIET]
        else:
            os.environ[QUIET] = self.before
