"""The experiment paper_table: finished runs read, and their numbers written as tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyses.common.cli import plain_text
from analyses.experiments.paper_table.load_runs import load_runs
from analyses.experiments.paper_table.options import PaperTableOptions
from analyses.experiments.paper_table.table import TITLES, accuracy, differences, markdown, numbers
from finetune.common.files import atomic_file
from finetune.common.markdown import escape_inline
from finetune.common.messages import printable, without_escapes
from finetune.common.output_files import begins_with, require_own_output
from interp.reports.pages.study import StudyTable, format_cell


def run(options: PaperTableOptions) -> list[StudyTable]:
    """Make the tables, and write them if a place is named.

    Raises:
        InputError: no run, or one that cannot be part of the table; nothing has been written.
    """
    options.check()
    gathered = load_runs(options.runs)
    made = {by: numbers(gathered.rows, by=by) for by in (None, *options.by)}
    laid = [(accuracy(each, by=by), differences(each, by=by)) for by, each in made.items()]
    tables = [table for pair in laid for table in pair if table.rows]
    if options.out is not None:
        stem = options.out.with_suffix("") if options.out.suffix in (".md", ".csv") else options.out
        left = "".join(
            f"- {escape_inline(item.where)}: {escape_inline(item.reason)}\n" for item in gathered.left_out
        )
        table = pd.concat(made.values(), ignore_index=True)
        page, cells = stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}.csv")
        require_own_output("--out", page, begins_with(*TITLES))
        require_own_output("--out", cells, begins_with(",".join(table.columns) + "\n"))
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


def write(options: PaperTableOptions) -> None:
    """Make the tables, write them where a place is named, and print them."""
    tables = run(options)
    if not options.quiet:
        _show(tables)


def _show(tables: Sequence[StudyTable]) -> None:
    """Print tables: drawn on a terminal, plain and unwrapped in a pipe."""
    console = Console()
    for table in map(_drawn, tables):
        if console.is_terminal:
            console.print(without_escapes(table))
        else:
            print(plain_text(table), flush=True)


def _drawn(table: StudyTable) -> Table:
    """Draw a table for a terminal."""
    drawn = Table(title=Text(table.title, "bold"), title_justify="left", box=SIMPLE_HEAD)
    drawn.caption, drawn.caption_justify = Text(table.note), "left"
    for name, right in zip(table.columns, table.right, strict=True):
        drawn.add_column(Text(name), justify="right" if right else "left")
    for row in table.rows:
        drawn.add_row(*(Text(format_cell(cell)) for cell in row))
    return drawn
