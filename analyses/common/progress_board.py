"""The progress of a grid: which cells are done, run or failed, how right they are, and how long it takes.

Cells leave marks in their directories, wherever they run; the board reads those, so that it is the same for
one process, several, and a cluster. On a terminal it is a table that is drawn anew every second; elsewhere
a line tells of each cell that ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analyses.common.grid_cells import FACTS, RUNNING, GridCell
from finetune.common.progress import console, duration

WITHIN = ("seed", "learning_rate")  # what cells of one row of the table differ in
MOST_ROWS = 20


class ProgressBoard:
    """What is known of a grid's cells, from the files they leave.

    Args:
        title: what the grid is of.
        cells: all of them; some may be done already.
        run: the run directory.
    """

    def __init__(self, title: str, cells: Sequence[GridCell], run: Path) -> None:
        self.title, self.cells, self.run = title, cells, run
        self.start = time.time()
        self.failed: dict[str, str] = {}
        self.accuracy: dict[str, float | None] = {}
        self.before = sum(self.state(cell) == "done" for cell in cells)

    def state(self, cell: GridCell) -> str:
        """Say whether a cell is done, running, failed or waiting."""
        home = self.run / "cells" / cell.key
        if cell.key in self.accuracy or (home / FACTS).is_file():
            self.accuracy.setdefault(cell.key, _accuracy(home / FACTS))
            return "done"
        if cell.key in self.failed:
            return "failed"
        try:
            # A mark from before this run is of a process that was killed.
            return "running" if (home / RUNNING).stat().st_mtime >= self.start - 1 else "waiting"
        except OSError:
            return "waiting"

    def table(self) -> Table:
        """Lay the cells out, a row for those that differ in seed or learning rate only."""
        table = Table(title=self.title, title_justify="left", box=SIMPLE_HEAD, caption=self.caption())
        table.add_column("cells")
        for name in ("done", "running", "failed", "accuracy"):
            table.add_column(name, justify="right", no_wrap=True)
        groups: dict[str, list[GridCell]] = {}
        for cell in self.cells:
            groups.setdefault(_row_of(cell), []).append(cell)
        for row, some in _most_telling(groups, self.state)[:MOST_ROWS]:
            states = [self.state(cell) for cell in some]
            right = [a for cell in some if (a := self.accuracy.get(cell.key)) is not None]
            table.add_row(
                Text(row),
                f"{states.count('done')}/{len(some)}",
                str(states.count("running") or ""),
                str(states.count("failed") or ""),
                f"{100 * sum(right) / len(right):.1f}%" if right else "",
            )
        if len(groups) > MOST_ROWS:
            table.add_row(f"... and {len(groups) - MOST_ROWS} more rows", "", "", "", "")
        return table

    def caption(self) -> str:
        """Say how many cells are done, how long that took, and how long the rest may take."""
        done = sum(self.state(cell) == "done" for cell in self.cells)
        took = time.time() - self.start
        text = f"{done} of {len(self.cells)} cells done, {duration(took)}"
        fresh = done - self.before
        left = len(self.cells) - done - len(self.failed)
        return text + (f", about {duration(took / fresh * left)} left" if fresh and left else "")

    def line(self, cell: GridCell) -> str:
        """Say in a line how one cell ended."""
        state = self.state(cell)
        told = self.failed.get(cell.key, "") if state == "failed" else ""
        accuracy = self.accuracy.get(cell.key)
        told = f"{100 * accuracy:.1f}% right" if accuracy is not None else told
        return f"{cell.key}: {state}" + (f", {told}" if told else "") + f" ({self.caption()})"


@contextmanager
def live_board(title: str, cells: Sequence[GridCell], run: Path) -> Iterator[Callable[[GridCell, str], None]]:
    """Show a grid's progress on standard error; the yielded function is told how each cell ended."""
    where, board = console(), ProgressBoard(title, cells, run)
    with _live(board, where):

        def ended(cell: GridCell, reason: str) -> None:
            if reason:
                board.failed[cell.key] = reason
            else:
                board.failed.pop(cell.key, None)
            if not where.is_terminal:
                where.print(board.line(cell), highlight=False, soft_wrap=True, markup=False)

        yield ended


@contextmanager
def _live(board: ProgressBoard, where: Console) -> Iterator[None]:
    if not where.is_terminal:
        n = len(board.cells) - board.before
        where.print(f"{board.title} ({n:,} of {len(board.cells):,} cells to run)", highlight=False)
        yield
        return

    with Live(get_renderable=board.table, console=where, refresh_per_second=1, transient=True):
        yield


def _row_of(cell: GridCell) -> str:
    told = {name: value for name, value in cell.params.items() if name not in WITHIN}
    named = [f"{value}" if isinstance(value, str) else f"{name} {value}" for name, value in told.items()]
    return ", ".join(named) or "cells"


def _most_telling(
    groups: dict[str, list[GridCell]], state: Callable[[GridCell], str]
) -> list[tuple[str, list[GridCell]]]:
    """Put rows at work first where there are more than fit, then those with something done."""
    if len(groups) <= MOST_ROWS:
        return list(groups.items())
    rank = {"running": 0, "failed": 1, "done": 2, "waiting": 3}
    return sorted(groups.items(), key=lambda item: min(rank[state(cell)] for cell in item[1]))


def _accuracy(path: Path) -> float | None:
    """Average a finished cell's column ``correct``, if it has one."""
    try:
        if "correct" not in pq.read_schema(path).names:
            return None
        right = [bool(value) for value in pq.read_table(path, columns=["correct"])["correct"].to_pylist()]
    except (OSError, ValueError):  # damaged; whoever needs the rows makes them again
        return None
    return sum(right) / len(right) if right else None
