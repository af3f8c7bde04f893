"""What every analysis has in common on the command line: options in, clear errors, a run directory out.

Standard output holds the result alone: a table, or with ``--json`` one object. Progress and errors go to
standard error. Where output is no terminal it is plain: no escape codes, no drawn lines, no wrapped rows.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from analyses.common.options import OutputOptions
from finetune.common.command_line import parse_options, run_command
from finetune.common.distributed import is_main
from finetune.common.files import read_json
from finetune.common.messages import without_controls, without_escapes
from finetune.common.progress import prepare_process

Chosen = TypeVar("Chosen", bound=OutputOptions)


def launcher(
    name: str, options: type[Chosen], *, arguments: Callable[[], Sequence[str]] | None = None
) -> tuple[Callable[[Chosen], Path], Callable[[], int]]:
    """Make a script's ``run`` and ``main`` of ``analyses.experiments.<name>``.

    ``run`` takes options and returns the run directory; ``main`` parses the command line, runs, and prints
    what was found and where it is. The experiment is imported once the options are known, so that ``--help``
    is quick. ``arguments`` is as in :func:`launch`.
    """

    def experiment() -> Any:
        return import_module(f"analyses.experiments.{name}.experiment").EXPERIMENT

    def run(chosen: Chosen) -> Path:
        """Run the analysis, or continue it, and return the run directory."""
        out: Path = experiment().run(chosen)
        return out

    def main() -> int:
        """Run from the command line; print what was found and where the report is."""
        return launch(
            options,
            run,
            lambda out: experiment().show(out),
            following=lambda out: experiment().following(out),
            arguments=arguments,
        )

    return run, main


def reader(name: str, options: type[Any]) -> Callable[[], int]:
    """Make the ``main`` of a script that reads runs and writes a page: ``write`` of its experiment."""

    def write() -> None:
        chosen = parse_options(options)
        import_module(f"analyses.experiments.{name}.experiment").write(chosen)

    return lambda: run_command(write, continues="")


def launch(
    options: type[Chosen],
    run: Callable[[Chosen], Path],
    show: Callable[[Path], object],
    *,
    following: Callable[[Path], Sequence[str]] = lambda out: (),
    arguments: Callable[[], Sequence[str]] | None = None,
) -> int:
    """Parse the command line, run, and print what becomes of the run directory.

    Args:
        options: the class of the options.
        run: does the work and returns the run directory.
        show: makes of the run directory what is printed.
        following: returns the commands that go on from it, ready to be copied.
        arguments: gives the words to parse where they are not just those of the command line.

    Returns:
        The exit status; see :func:`finetune.common.command_line.run_command`.
    """

    def work() -> None:
        chosen = parse_options(options, args=None if arguments is None else arguments())
        prepare_process(quiet=chosen.quiet, color=chosen.color)
        # Whatever a library prints meanwhile must not mix with the result.
        with contextlib.redirect_stdout(sys.stderr):
            out = run(chosen)
        if is_main():
            _tell(chosen, out, show(out), following(out))

    return run_command(work)


def as_json(out: Path, shown: object, following: Sequence[str] = ()) -> dict[str, Any]:
    """Gather what a run says: where it is, its finding (the shown table's title), claims and numbers."""
    told: dict[str, Any] = {"run": str(out), "report": str(out / "report.html"), "next": list(following)}
    told["finding"] = str(shown.title or "") if isinstance(shown, Table) else ""
    manifest = read_json(out / "manifest.json") if (out / "manifest.json").is_file() else {}
    told |= {name: manifest[name] for name in ("finished", "left_out") if name in manifest}
    for name in ("claims", "results"):
        if (out / f"{name}.json").is_file():
            told[name] = read_json(out / f"{name}.json")
    return told


def plain_text(shown: object) -> str:
    """Render for a pipe or a log: no escape codes, tables drawn with ASCII, no row wrapped or cut."""
    text = io.StringIO()
    console = Console(
        file=text, width=10_000, color_system=None, force_terminal=False, markup=False, emoji=False
    )
    if isinstance(shown, Table):
        shown.box, shown.padding, shown.pad_edge = MARKDOWN, (0, 1), True
        shown.title, title = None, shown.title
        shown.caption, caption = None, shown.caption
        console.print(*filter(None, (title,)), shown, *filter(None, (caption,)), sep="\n")
    else:
        console.print(shown, soft_wrap=True)
    return "\n".join(without_controls(line).rstrip() for line in text.getvalue().split("\n")).rstrip("\n")


def _tell(chosen: OutputOptions, out: Path, shown: object, following: Sequence[str]) -> None:
    """Print what was found, where it is, and how to go on."""
    if chosen.json:
        print(json.dumps(as_json(out, shown, following), ensure_ascii=False, allow_nan=False))
    elif not chosen.quiet:
        console = Console()
        if console.is_terminal:
            console.print(without_escapes(shown))
        else:
            print(plain_text(shown))
        print(f"Report: {out / 'report.html'}")
        for lead, command in zip(("Next:", *("Or:  " for _ in following)), following, strict=False):
            print(lead, command)
