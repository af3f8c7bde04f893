"""Sources of facts: PopQA, EntityQuestions, MMLU and one's own tables, told apart by their columns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune.facts import Fact, FactSet, LeftOut
from finetune.sources import entity_questions, mmlu, popqa, questions, table
from finetune.sources.directory import read_directory
from finetune.sources.gather import Reader, gather
from finetune.sources.hub import from_hub, hub_id
from finetune.sources.rows import EXTENSIONS, Row, Table, read_table

_NAMED = ("popqa", "mmlu")


def load(source: str | Path, *, limit: int | None = None, seed: int = 0) -> FactSet:
    """Load facts from a file, a directory of files, or the hub.

    - ``"popqa"``, ``"mmlu"`` and ``"mmlu:SUBSET"`` are the hub's, whatever lies here of that name.
    - A CSV, TSV, JSON, JSONL or parquet file: PopQA, EntityQuestions (named after its relation), MMLU in any
      of its layouts, or a table of one's own.
    - A directory of such files (:mod:`finetune.sources.directory`).
    - ``"owner/name"`` or ``"owner/name:config"``: a public data set on the hub, its columns as in a file.

    Of several splits one is taken (:mod:`finetune.sources.splits`).

    What cannot be used is in the set's ``left_out``, by line. ``limit`` keeps a random draw of that many
    usable facts, taken with ``seed`` and kept in the source's order.

    Raises:
        InputError: the source cannot be read, lacks a column, or is over half malformed.
    """
    name, tables, left_out = _read(source)
    readers = [(rows, _reader(rows)) for rows in tables]
    return gather(name, readers, left_out=left_out, limit=limit, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Traced:
    """Facts with the record that each was made of: its table's place in ``tables``, and the row.

    ``subjects_known`` tells whether a fact's subject is a part of its question, not the whole of it.
    """

    facts: FactSet
    tables: tuple[Table, ...]
    rows: tuple[tuple[int, Row], ...]
    subjects_known: bool


def load_traced(source: str | Path, *, limit: int | None = None, seed: int = 0) -> Traced:
    """Load facts as :func:`load` does, and keep the record of each; a bare list of questions will do.

    Raises:
        InputError: see :func:`load`.
    """
    name, tables, left_out = _read(source)
    made: list[tuple[Fact, int, Row]] = []

    def traced(place: int, to_fact: Reader) -> Reader:
        def read(row: Row) -> Fact:
            made.append((to_fact(row), place, row))
            return made[-1][0]

        return read

    bare = [_is_bare(rows) for rows in tables]
    readers = [
        questions.reader(rows) if is_so else _reader(rows) for rows, is_so in zip(tables, bare, strict=True)
    ]
    traces = [
        (rows, traced(i, to_fact)) for i, (rows, to_fact) in enumerate(zip(tables, readers, strict=True))
    ]
    facts = gather(name, traces, left_out=left_out, limit=limit, seed=seed)
    # Facts that share an id are told apart by which object they are.
    origin = {id(fact): (place, row) for fact, place, row in made}
    whole = any(bare) or any(mmlu.is_layout(rows.columns) for rows in tables)
    return Traced(
        facts=facts,
        tables=tuple(tables),
        rows=tuple(origin[id(fact)] for fact in facts),
        subjects_known=not whole,
    )


def _is_bare(rows: Table) -> bool:
    if "subj" in rows.columns or mmlu.is_layout(rows.columns) or not questions.is_layout(rows.columns):
        return False
    return "answers" not in rows.columns or entity_questions.relation_of(rows.name) is None


def _read(source: str | Path) -> tuple[str, list[Table], tuple[LeftOut, ...]]:
    path = Path(source).expanduser()
    named = isinstance(source, str) and source.partition(":")[0] in _NAMED
    if path.is_dir() and not named:
        return read_directory(path)
    if path.exists() or isinstance(source, Path) or path.suffix.lower() in EXTENSIONS:
        rows = read_table(path)
        return rows.name, [rows], ()
    rows, left_out = _fetch(source)
    return rows.name, [rows], left_out


def _fetch(source: str) -> tuple[Table, tuple[LeftOut, ...]]:
    test, _, subset = source.partition(":")
    if source == "popqa":
        return from_hub(popqa.HUB_ID, name=source, otherwise="give a file of it (--facts popqa.tsv)")
    if test == "mmlu":
        otherwise = "give a file or directory of it (--facts DIRECTORY)"
        return from_hub(mmlu.HUB_ID, subset or "all", name=source, otherwise=otherwise)
    if found := hub_id(source):
        return from_hub(*found, name=source, otherwise="check the path, if it is one")
    return read_table(Path(source)), ()


def _reader(rows: Table) -> Reader:
    columns = set(rows.columns)
    if "subj" in columns and "subject" not in columns:
        rows.require(*popqa.COLUMNS)
        return popqa.to_fact
    if mmlu.is_layout(columns):
        return mmlu.reader(rows)
    if {"question", "answers"} <= columns and "subject" not in columns:
        return entity_questions.reader(rows)
    return table.reader(rows)
