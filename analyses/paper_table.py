"""How right is each arm, by data set, model and method? The table of the paper, from any runs.

    python analyses/paper_table.py runs/seeds runs/popqa --out table
    python analyses/paper_table.py runs/splits --by quartile

Reads runs of attention_imbalance and of popularity_splits, whole, cell by cell, or a directory of either;
nothing is measured anew. With --out it writes table.md, and table.csv with a row a number.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from analyses.shell import write_plainly
from finetune.command_line import parsed, run_command
from finetune.facts import InputError
from finetune.markdown import inline
from finetune.messages import printable, without_escapes
from finetune.options import require_valid

if TYPE_CHECKING:
    from rich.table import Table

    from interp.study import StudyTable


@dataclass(frozen=True, kw_only=True)
class Options:
    """How right is each arm, by data set, model and method? The table of the paper, from any runs."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, or directories that hold some."""
    out: Path | None = None
    """Where to write the table: this name with .md and with .csv."""
    by: tuple[Literal["quartile", "relation", "known"], ...] = ()
    """Also within each popularity quartile, each relation, or what the base knows and does not."""
    quiet: bool = False
    """Print nothing."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        if not self.runs:
            raise InputError("no run: name run directories, such as runs/demo")
        if self.out is not None and not self.out.name:
            raise InputError(f"--out {self.out}: name a file")


def run(options: Options) -> list[StudyTable]:
    """Make the tables, and write them if a place is named.

    Raises:
        InputError: no run, or one that cannot be part of the table; nothing has been written.
    """
    import pandas as pd

    from analyses.splits.gathered import gather
    from analyses.splits.table import TITLES, accuracy, differences, markdown, numbers
    from finetune.files import atomic_file
    from finetune.outputs import begins_with, require_ours

    options.check()
    gathered = gather(options.runs)
    made = {by: numbers(gathered.rows, by=by) for by in (None, *options.by)}
    laid = [(accuracy(each, by=by), differences(each, by=by)) for by, each in made.items()]
    tables = [table for pair in laid for table in pair if table.rows]
    if options.out is not None:
        stem = options.out.with_suffix("") if options.out.suffix in (".md", ".csv") else options.out
        left = "".join(f"- {inline(item.where)}: {inline(item.reason)}\n" for item in gathered.left_out)
        table = pd.concat(made.values(), ignore_index=True)
        page, cells = stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}.csv")
        require_ours("--out", page, begins_with(*TITLES))
        require_ours("--out", cells, begins_with(",".join(table.columns) + "\n"))
        text = markdown(tables) + (f"\n## Left out\n\n{left}" if left else "")
        with atomic_file(page) as path:
            path.write_text(text, encoding="utf-8")
        with atomic_file(cells) as path:
            table.map(_no_formula).to_csv(path, index=False)
    for item in gathered.left_out:
        print(printable(f"left out: {item.where} {item.reason}", 500), file=sys.stderr)
    return tables


def _no_formula(cell: object) -> object:
    """Mark a text that a spreadsheet would compute: a name of a run or of a relation can be any text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r")) else cell


def main() -> int:
    """Make the table from the command line; 2 where the input was wrong."""
    return run_command(_command, continues="")


def _command() -> None:
    options = parsed(Options)
    tables = run(options)
    if not options.quiet:
        _show(tables)


def _show(tables: Sequence[StudyTable]) -> None:
    """Print tables: drawn on a terminal, plain and unwrapped in a pipe."""
    from rich.console import Console

    console = Console()
    for table in map(_drawn, tables):
        if console.is_terminal:
            console.print(without_escapes(table))
        else:
            print(write_plainly(table), flush=True)


def _drawn(table: StudyTable) -> Table:
    """Draw a table for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from interp.study import shown

    drawn = Table(title=Text(table.title, "bold"), title_justify="left", box=SIMPLE_HEAD)
    drawn.caption, drawn.caption_justify = Text(table.note), "left"
    for name, right in zip(table.columns, table.right, strict=True):
        drawn.add_column(Text(name), justify="right" if right else "left")
    for row in table.rows:
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    return drawn


if __name__ == "__main__":
    sys.exit(main())
