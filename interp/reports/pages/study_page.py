"""The page of a study in its run directory, made from its data and figures, and a terminal's headline."""

from __future__ import annotations

import re
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from finetune.common.errors import InputError
from finetune.common.files import write_json
from finetune.common.run_files import record_rewritten
from interp.reports.figures.style import save
from interp.reports.figures.svg import inline_file
from interp.reports.pages.fact_section import study_fact_section
from interp.reports.pages.render import render_study
from interp.reports.pages.study import STUDY, Study, format_cell
from interp.reports.pages.study_files import load_study, study_data, write_claims
from interp.reports.read.files import read_object, row_files
from interp.reports.views.view import write_page


def write_study(run: Path | str, study: Study) -> Path:
    """Write figures, study.json, claims.json and report.html into a run directory; return the page's path.

    Raises:
        InputError: the directory has no manifest.
    """
    run = Path(run)
    if not (run / "manifest.json").is_file():
        raise InputError(f"{run}: holds no manifest.json; name the directory of a run")
    for each in study.figures:
        if each.figure is not None:
            save(each.figure, run / "figures" / each.name)
    write_claims(run, study.claims)
    write_json(run / STUDY, study_data(study))
    return rebuild(run)


def rebuild(run: Path | str) -> Path:
    """Write report.html again from the run directory of a study, and return its path.

    Raises:
        InputError: a file of the directory is missing or malformed.
    """
    run = Path(run)
    study, manifest = load_study(run), read_object(run / "manifest.json")
    names = [each.name for each in study.figures if not each.missing]
    drawn = {name: inline_file(run / "figures" / f"{name}.svg", name) for name in names}
    name, facts = run.resolve().name, study_fact_section(run)
    html = render_study(name, study, manifest, drawn=drawn, facts=facts, row_files=row_files(run))
    written = write_page(run / "report.html", html)
    record_rewritten(run, [written])
    return written


def headline(study: Study) -> Table:
    """Show the finding and the first table on a terminal, intervals written short."""
    told = "\n".join((study.finding, *study.answer))
    table = Table(title=Text(told, "bold"), title_justify="left", box=SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False  # with these the main job's fits into 80 columns
    first = study.tables[0]
    table.caption, table.caption_justify = first.note or None, "left"
    for i, column in enumerate(first.columns):
        table.add_column(Text(column.replace(", ", "\n", 1)), justify="left" if i == 0 else "right")
    interval = re.compile(r"\(\+?([^ ()]+) to \+?([^ ()]+)\)")
    for row in first.rows:
        table.add_row(*(Text(interval.sub(r"(\1, \2)", format_cell(cell))) for cell in row))
    return table
