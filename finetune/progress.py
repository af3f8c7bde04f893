"""Progress on standard error: what is being done and how long is left; silent when asked to be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET = "FACTSCOPE_QUIET"


@contextmanager
def task(description: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for one piece of work; the yielded function takes how much of ``total`` is done.

    On a terminal the bar moves; elsewhere one line says when the work begins, so that a log stays short.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=bool(os.environ.get(QUIET)))
    if not console.is_terminal:
        console.print(f"{description} ({total:,})", highlight=False)
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        handle = bar.add_task(description, total=total)
        yield lambda done: bar.update(handle, completed=done)
