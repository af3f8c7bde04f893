"""Rows of a file, each with its place in it: delimited text, JSON, JSON lines and parquet.

A delimited record that cannot be read (a stray quote, a wrong number of fields) costs its own line only:
reading goes on with the next line, so that one open quote does not swallow the rest of the file. A CSV file
whose first record is a question, its options and a letter is of MMLU's original release, which has no header.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.facts import InputError
from finetune.regular import require_regular

_SPACE = re.compile(r"\s*")
_NAMES = frozenset({"question", "answer", "answers", "subject", "subj", "relation", "id"})  # of columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record: where it stands (``file:line``), its cells by column, or the problem it has.

    ``number`` is its place among the file's records, from 1.
    """

    where: str
    cells: Mapping[str, Any]
    problem: str | None = None
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Table:
    """The records of one source in their order; ``columns`` are all the names that occur."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def require(self, *columns: str) -> None:
        """Raise InputError unless every one of ``columns`` is there."""
        for column in columns:
            if column not in self.columns:
                raise InputError(
                    f"{self.name}: no column {column!r}; add or rename it (found: {', '.join(self.columns)})"
                )


def read_table(path: Path) -> Table:
    """Read a file's rows by its extension; lines are counted from 1, a header included.

    Raises:
        InputError: no such file, an unknown extension, not UTF-8, or nothing in it.
    """
    if path.exists():
        require_regular(path)
    else:
        raise InputError(
            f"{path}: no such file; give a file or directory of facts, popqa, mmlu, or a hub id (owner/name)"
        )
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown extension {path.suffix!r}; use one of {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; give a file with a header and rows")
    rows = tuple(reader(path))
    if not rows:
        raise InputError(f"{path}: has no rows; give at least one")
    columns = dict.fromkeys(column for row in rows for column in row.cells)
    return Table(name=path.name, columns=tuple(columns), rows=rows)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from error


def _delimited(path: Path) -> Iterator[Row]:
    lines = io.StringIO(_text(path), newline="").readlines()
    header = _headless(lines) if path.suffix.lower() == ".csv" else None
    delimiter = max("\t,;" if path.suffix.lower() == ".tsv" else ",\t;", key=(lines or [""])[0].count)
    delimiter = "," if header else delimiter
    at = number = 0
    while at < len(lines):
        reader = csv.reader(_from(lines, at), delimiter=delimiter, strict=True)
        line, problem, fields = at + 1, None, []
        try:
            fields = [field.strip() for field in next(reader)]
        except csv.Error as error:
            problem = f"cannot be read ({error})"
        if header is None:
            header = _header(path, fields, problem)
            at += reader.line_num
            continue
        if fields and len(fields) != len(header):
            problem = f"{len(fields)} fields instead of {len(header)}"
        at += 1 if problem else reader.line_num
        if fields or problem:
            number += 1
            cells = dict.fromkeys(header) if problem else dict(zip(header, fields, strict=True))
            yield Row(where=f"{path.name}:{line}", cells=cells, problem=problem, number=number)


def _from(lines: Sequence[str], start: int) -> Iterator[str]:
    return (lines[i] for i in range(start, len(lines)))


def _headless(lines: Sequence[str]) -> list[str] | None:
    """Name the columns of a file that begins with a question, its options and the right one's letter."""
    try:
        fields = [field.strip() for field in next(csv.reader(lines, strict=True), [])]
    except csv.Error:
        return None
    n = len(fields) - 2
    if n < 2 or fields[-1] not in [chr(ord("A") + i) for i in range(n)]:
        return None
    if not _NAMES.isdisjoint(field.casefold() for field in fields):
        return None
    return ["question", *(f"choice{i}" for i in range(n)), "answer"]


def _header(path: Path, fields: list[str], problem: str | None) -> list[str]:
    if problem or not any(fields):
        raise InputError(f"{path}:1: {problem or 'is blank'}; the first line must name the columns")
    for name in fields:
        if fields.count(name) > 1:
            raise InputError(f"{path}:1: column {name!r} occurs twice; rename one")
    return fields


def _json(path: Path) -> Iterator[Row]:
    text = _text(path)
    values = _array(path, text) if text.lstrip().startswith("[") else _lines(text)
    for number, (line, value, problem) in enumerate(values, start=1):
        if problem is None and not isinstance(value, dict):
            problem = "is not a JSON object"
        where = f"{path.name}:{line}"
        yield Row(where=where, cells={} if problem else value, problem=problem, number=number)


def _lines(text: str) -> Iterator[tuple[int, Any, str | None]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line), None
            except json.JSONDecodeError as error:
                yield number, None, f"is not JSON ({error.msg})"


def _array(path: Path, text: str) -> Iterator[tuple[int, Any, str | None]]:
    """Walk a JSON list element by element, to know the line on which each begins."""
    decoder = json.JSONDecoder()
    at = _skip(text, text.index("[") + 1)
    line, counted = 1, 0
    while text[at : at + 1] != "]":
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] not in (",", "]"):
                raise json.JSONDecodeError("expected a comma or the list's end", text, at)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: is not JSON ({error.msg}); repair the list") from error
        yield line, value, None
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        records = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: is not a readable parquet file; write it again") from error
    for number, cells in enumerate(records, start=1):
        yield Row(where=f"{path.name} row {number}", cells=cells, number=number)


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".json": _json,
    ".jsonl": _json,
    ".parquet": _parquet,
}
EXTENSIONS = tuple(_READERS)
