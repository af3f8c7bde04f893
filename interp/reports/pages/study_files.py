"""A study in its run directory: ``study.json`` and ``claims.json``, written and read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from interp.reports.pages.study import (
    CLAIMS,
    NOT_MEASURED,
    OUTCOMES,
    STUDY,
    Claim,
    Study,
    StudyFigure,
    StudyTable,
)
from interp.reports.read.files import expected_layout

VERSION = 1


def write_claims(run: Path, claims: Sequence[Claim]) -> None:
    """Write what a run decides to its ``claims.json``; nothing where it decides nothing."""
    if claims:
        write_json(run / CLAIMS, [{**asdict(claim), "measured": claim.measured} for claim in claims])


def study_data(study: Study) -> dict[str, Any]:
    """Turn a study into what study.json holds; its figures are files of their own."""

    def plain(cell: Any) -> Any:
        cell = cell.item() if hasattr(cell, "item") else cell
        return None if isinstance(cell, float) and not math.isfinite(cell) else cell

    held = asdict(replace(study, figures=tuple(replace(each, figure=None) for each in study.figures)))
    for table in (*held["tables"], *held["examples"]):
        table["rows"] = [[plain(cell) for cell in row] for row in table["rows"]]
    return {"version": VERSION, **held}


def load_study(run: Path | str) -> Study:
    """Read the study that a run directory holds; its figures stay files.

    Raises:
        InputError: study.json is missing or not laid out as it should be.
    """
    path = Path(run) / STUDY
    remedy = "give the analysis's command again, with a new --out"
    if not path.is_file():
        raise InputError(f"{path}: is missing; {remedy}")
    with expected_layout(path, remedy):
        held = read_json(path)
        if held["version"] != VERSION or held["outcome"] not in OUTCOMES:
            raise InputError(f"{path}: was written by another version; {remedy}")
        said: dict[str, Any] = {key: str(held[key]) for key in ("title", "question", "finding", "outcome")}
        said |= {key: tuple(map(_table, held[key])) for key in ("tables", "examples")}
        said |= {key: tuple(map(str, held.get(key, ()))) for key in ("notes", "answer")}
        return Study(
            **said,
            claims=tuple(map(claim_of, held["claims"])),
            figures=tuple(map(_figure, held["figures"])),
            definitions=tuple((str(term), str(text)) for term, text in held.get("definitions", ())),
            elsewhere=str(held.get("elsewhere", "")),
        )


def claim_of(held: Mapping[str, Any]) -> Claim:
    """Take a claim as a run keeps it; earlier versions called what nothing was measured of inconclusive."""
    claim = Claim(**{key: value for key, value in held.items() if key != "measured"})
    return replace(claim, outcome=NOT_MEASURED) if claim.number["value"] is None else claim


def _table(held: dict[str, Any]) -> StudyTable:
    words = {name: str(held[name]) for name in ("title", "note")}
    columns, rows = tuple(map(str, held["columns"])), tuple(map(tuple, held["rows"]))
    bold = tuple((int(row), int(column)) for row, column in held.get("bold", ()))
    return StudyTable(**words, columns=columns, rows=rows, bold=bold)


def _figure(held: dict[str, Any]) -> StudyFigure:
    """Read a figure; a name that leads out of the directory of figures is refused."""
    words = {key: str(held.get(key, "")) for key in ("name", "caption", "title", "alternative", "missing")}
    if Path(words["name"]).name != words["name"] or words["name"].startswith("."):
        raise ValueError(f"{words['name']!r} names no figure")
    return StudyFigure(**words, figure=None)
