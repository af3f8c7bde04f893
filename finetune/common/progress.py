"""Progress on standard error: what is being done and how long is left; silent when asked to be."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET = "FACTSCOPE_QUIET"
FIRST_LINE, LONGEST_SILENCE = 20.0, 120.0  # seconds between lines where output is no terminal


class Notice(UserWarning):
    """Something that is put right by itself, or was done otherwise than asked, and that one should know."""


def notice(text: str) -> None:
    """Say once a process what was noticed, in one line on standard error, even where it is quiet."""
    warnings.warn(text, Notice, stacklevel=3)


def _format_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
    """Write a notice as one plain line, and other warnings as Python does."""
    if issubclass(category, Notice):
        return f"notice: {message}\n"
    return _usual(message, category, *where, **more)


_usual = warnings.formatwarning


def console() -> Console:
    """Return a console on standard error, silent if QUIET is set in the environment."""
    return Console(stderr=True, quiet=bool(os.environ.get(QUIET)))


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Keep transformers from reporting, in several lines or with a bar, what is reported here in one."""
    from transformers.utils import logging as reports

    logger = logging.getLogger("transformers")
    level, bar = logger.level, reports.is_progress_bar_enabled()
    reports.disable_progress_bar()
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        if bar:
            reports.enable_progress_bar()


def prepare_process(*, quiet: bool, color: bool = True) -> None:
    """Silence the libraries' own bars and messages, and with ``quiet`` ours as well."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if quiet:
        os.environ[QUIET] = "1"
    if not color:
        os.environ["NO_COLOR"] = "1"
    warnings.formatwarning = _format_warning
    # PEFT asks transformers for an attribute by its old name at every adapter.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
    if "transformers" in sys.modules:  # it read the environment when it was imported, as others will
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()


@contextmanager
def progress_bar(description: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for one piece of work; the yielded function takes how much of ``total`` is done.

    On a terminal the bar moves. Elsewhere one plain line says when the work begins, and where it takes long
    further ones say how much is done and how long is left, further and further apart.
    """
    where = console()
    if not where.is_terminal:
        yield _report_in_lines(where, description, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=where) as bar:
        handle = bar.add_task(escape(description), total=total)
        yield lambda done: bar.update(handle, completed=done)


def increments(advance: Callable[[int], None]) -> Callable[[int], None]:
    """Return what takes how much *more* is done, for work whose parts do not know of each other."""
    total = 0

    def more(done: int) -> None:
        nonlocal total
        total += done
        advance(total)

    return more


def _report_in_lines(where: Console, description: str, total: int) -> Callable[[int], None]:
    """Print a line now, and return what prints another one after ``FIRST_LINE`` seconds, twice that, ..."""

    def say(text: str) -> None:
        where.print(f"{description} ({text})", highlight=False, markup=False, soft_wrap=True)

    say(f"{total:,}")
    began, due, before = time.monotonic(), FIRST_LINE, 0

    def advance(done: int) -> None:
        nonlocal due, before
        passed = time.monotonic() - began
        if passed < due or done <= before or done >= total:
            return
        due, before = min(2 * due, passed + LONGEST_SILENCE), done
        say(f"{done:,} of {total:,}, {duration(passed * (total - done) / done)} left")

    return advance


def duration(seconds: float) -> str:
    """Write a time in the unit that suits its length."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
