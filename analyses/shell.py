"""What every analysis has in common on the command line: options in, clear errors, a run directory out.

Standard output holds the result alone: a table, or with ``--json`` one object. Progress and errors go to
standard error. Where output is no terminal it is plain: no escape codes, no drawn lines, no wrapped rows.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from finetune.facts import InputError
from finetune.progress import prepare_process

CONTINUES = "finished stages are kept, the same command continues"


class HasOutput(Protocol):
    """Options that every analysis has."""

    @property
    def out(self) -> Path:
        """Run directory."""

    @property
    def quiet(self) -> bool:
        """Whether to print nothing but what --json asks for."""

    @property
    def json(self) -> bool:
        """Whether to print the run as JSON."""

    @property
    def color(self) -> bool:
        """Whether a terminal may be shown colours."""


Chosen = TypeVar("Chosen", bound=HasOutput)


def launch(
    options: type[Chosen],
    run: Callable[[Chosen], Path],
    show: Callable[[Path], object],
    *,
    arguments: Callable[[], Sequence[str]] | None = None,
) -> int:
    """Parse the command line, run, and print what ``show`` makes of the run directory.

    ``arguments`` gives the words to parse where they are not just those of the command line.

    Returns:
        The exit status: 2 where the input was wrong or the disk full, 130 when interrupted.
    """
    import tyro

    try:
        words = None if arguments is None else arguments()
        chosen = tyro.cli(options, args=words, description=options.__doc__)
        prepare_process(quiet=chosen.quiet, color=chosen.color)
        # Whatever a library prints meanwhile must not mix with the result.
        with contextlib.redirect_stdout(sys.stderr):
            out = run(chosen)
    except InputError as error:
        print(f"error: {error.on_command_line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ninterrupted; {CONTINUES}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return unheard()
    except Exception as error:
        # A full disk reaches us as OSError, or as the error of whichever library was writing.
        if not isinstance(error, OSError) and "No space left" not in str(error):
            raise
        print(f"error: {error}; {CONTINUES}", file=sys.stderr)
        return 2
    if int(os.environ.get("RANK", "0")) == 0:
        try:
            _tell(chosen, out, show)
        except BrokenPipeError:
            return unheard()
    return 0


def show_study(out: Path) -> object:
    """Make what a terminal shows of a run that left a study: its finding and first table."""
    from interp.study import headline, load_study

    return headline(load_study(out))


def as_json(out: Path, shown: object) -> dict[str, Any]:
    """Gather what a run says: where it is, its finding (the shown table's title), claims and numbers."""
    from rich.table import Table

    from finetune.files import read_json

    told: dict[str, Any] = {"run": str(out), "report": str(out / "report.html")}
    told["finding"] = str(shown.title or "") if isinstance(shown, Table) else ""
    for name in ("claims", "results"):
        if (out / f"{name}.json").is_file():
            told[name] = read_json(out / f"{name}.json")
    return told


def write_plainly(shown: object) -> str:
    """Render for a pipe or a log: no escape codes, tables drawn with ASCII, no row wrapped or cut."""
    from rich.box import MARKDOWN
    from rich.console import Console
    from rich.table import Table

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
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _tell(chosen: HasOutput, out: Path, show: Callable[[Path], object]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a minus sign must not end a run on an old code page
    if chosen.json:
        print(json.dumps(as_json(out, show(out)), ensure_ascii=False, allow_nan=False))
    elif not chosen.quiet:
        from rich.console import Console

        console = Console()
        if console.is_terminal:
            console.print(show(out))
            console.print(f"Report: {out / 'report.html'}", soft_wrap=True, markup=False)
        else:
            print(f"{write_plainly(show(out))}\nReport: {out / 'report.html'}")
    sys.stdout.flush()


def unheard() -> int:
    """End well although whoever reads stopped early, as `head` does: nothing more is to be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
