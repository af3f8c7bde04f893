"""The command ``python -m interp.report``: write pages of finished runs again, or compare several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from finetune.common.command_line import parse_options, run_command
from finetune.common.errors import InputError
from finetune.common.messages import without_escapes
from finetune.common.option_checks import refuse_unread, require_valid


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write figures and report.html of any run directory, or compare several on one page."""

    run: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, such as runs/demo."""
    verdict_run: Path | None = None
    """A run of stored_or_suppressed on the same checkpoints."""
    compare: bool = False
    """Put the runs side by side on one page."""
    out: Path = Path("compare.html")
    """The page of --compare."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        if not self.run:
            raise InputError("no run: name a run directory, such as runs/demo")
        if self.compare:
            refuse_unread(self, ("verdict_run",), "is not compared; leave it or --compare out")
        else:
            refuse_unread(self, ("out",), "goes with --compare; a run's own page is its report.html")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the figures and the page of the run directories named on the command line."""
    return run_command(lambda: _command(arguments), continues="")


def _command(arguments: Sequence[str] | None) -> None:
    options = parse_options(Options, args=arguments)
    options.check()
    # A launcher imports its work when the options are known.
    from rich.console import Console
    from rich.text import Text

    from interp.reports.pages.compare import compare

    written: list[tuple[Path, Table | None]]
    if options.compare:
        written = [(compare(options.run, options.out), None)]
    else:
        written = [_written(path, options.verdict_run) for path in options.run]
    for path, table in written:
        if table is not None:
            Console().print(without_escapes(table))
        Console().print(without_escapes(Text(str(path))), soft_wrap=True)


def _written(path: Path, verdicts: Path | None) -> tuple[Path, Table | None]:
    """Write figures and page of one directory; return the page and what the terminal shows."""
    from interp.reports.pages.report import draw, headline_table, is_study, report, write_figures
    from interp.reports.pages.study_files import load_study
    from interp.reports.pages.study_page import headline
    from interp.reports.read.run import Run

    if path.is_dir() and is_study(path):
        return report(path, verdicts=verdicts), headline(load_study(path))
    run = Run.load(path)
    drawn = draw(run)
    write_figures(run, drawn=drawn)
    return report(run, drawn=drawn, verdicts=verdicts), headline_table(run)
