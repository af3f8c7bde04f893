"""Writing chosen rows in the format and with the columns that they came in, and what was found of each.

A delimited file keeps its columns and, if it stays of one kind, its delimiter; JSON keeps its values and
stays a list or lines; parquet keeps its schema. Another extension than the input's converts. A directory of
files becomes a directory of files of the same names. A fact that has answers of several rows is written as
all of these.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analyses.experiments.which_data.encodable import arrow_column, as_json, as_text, require_encodable
from finetune.common.errors import InputError
from finetune.common.files import atomic_directory, atomic_file
from finetune.data.load_facts import FactsWithRows, split_json_pointer
from finetune.data.loaders.delimited import delimiter_of
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.rows import EXTENSIONS

ADDED = ("score", "reason")
Found = Mapping[str, Sequence[Any]]  # a column that is added, with a value for each fact


def require_writable(traced: FactsWithRows, source: str, out: Path, option: str = "--out") -> None:
    """Refuse an output that cannot hold the input's rows, or would lose something.

    Args:
        traced: the facts and the tables that they are from.
        source: what ``--facts`` was given.
        out: where the rows are to go.
        option: the option that names it.

    Raises:
        InputError: names the option or the column, and the remedy.
    """
    path, _ = split_json_pointer(source)
    if path.exists() and out.exists() and path.resolve() == out.resolve():
        raise InputError(f"{option} {out}: is the input itself; name another file")
    if path.is_dir():
        if out.suffix:
            raise InputError(f"{option} {out}: --facts is a directory of files; name a directory")
    elif out.suffix.lower() not in EXTENSIONS:
        given = path.suffix or ".jsonl"
        raise InputError(
            f"{option} {out}: unknown extension {out.suffix!r}; use {given}, the input's own, or another of "
            f"{', '.join(EXTENSIONS)}"
        )
    for table in traced.tables:
        for name in ADDED:
            if name in table.columns:
                raise InputError(
                    f"{table.name}: has a column {name!r}, which the output adds; rename or remove it"
                )
    for place, table in enumerate(traced.tables):
        made = out / table.name if path.is_dir() else out
        if not _keeps_schema(table.path or path, made):
            require_encodable(table, _rows_of(traced, place), made, option)


def write_rows(
    traced: FactsWithRows,
    source: str,
    out: Path,
    indices: Sequence[int],
    found: Found,
    note: Callable[[Path, Path], None] = lambda out, made: None,
) -> None:
    """Write the rows of some facts, in the order of ``indices``, with what was found of each.

    Args:
        traced: the facts with the rows that they came from.
        source: the file or directory that these came from.
        out: where the chosen rows go.
        indices: which facts.
        found: columns that are added.
        note: called with ``out`` and what is to take its place, just before it does.

    Raises:
        InputError: the output cannot be written.
    """
    path, _ = split_json_pointer(source)
    try:
        if not path.is_dir():
            with atomic_file(out) as temporary:
                _write_one(traced, 0, path, temporary, indices, found)
                note(out, temporary)
            return
        with atomic_directory(out) as folder:
            by_table: dict[int, list[int]] = {}
            for i in indices:
                for place in dict.fromkeys(place for place, _ in _rows_of_fact(traced, i)):
                    by_table.setdefault(place, []).append(i)
            for place, some in by_table.items():
                table = traced.tables[place]
                _write_one(traced, place, table.path or path, folder / table.name, some, found)
            note(out, folder)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); name another place") from error


def _write_one(
    traced: FactsWithRows, place: int, given: Path, out: Path, indices: Sequence[int], found: Found
) -> None:
    own = [(i, row) for i in indices for at, row in _rows_of_fact(traced, i) if at == place]
    rows = [row for _, row in own]
    added = {name: [values[i] for i, _ in own] for name, values in found.items()}
    table = traced.tables[place]
    if out.suffix.lower() == ".parquet":
        # Types are those of all candidates, so that no choice among them decides what can be written.
        all_rows = [] if _keeps_schema(given, out) else _rows_of(traced, place)
        _parquet(given, out, table, rows, added, all_rows)
    else:
        _WRITERS[out.suffix.lower()](given, out, table, rows, added)


def _rows_of(traced: FactsWithRows, place: int) -> list[Row]:
    """Return the rows of one table that facts were made of."""
    own = [each for i in range(len(traced.rows)) for each in _rows_of_fact(traced, i)]
    return [row for at, row in own if at == place]


def _rows_of_fact(traced: FactsWithRows, i: int) -> list[tuple[int, Row]]:
    """Return the row that a fact was made of, and those that it has further answers of."""
    return [traced.rows[i], *traced.further.get(i, ())]


def _keeps_schema(given: Path, out: Path) -> bool:
    """Whether rows go from parquet to parquet, as they are."""
    return out.suffix.lower() == given.suffix.lower() == ".parquet" and given.is_file()


def _delimited(given: Path, out: Path, table: Table, rows: Sequence[Row], added: Found) -> None:
    delimiter = "\t" if out.suffix.lower() == ".tsv" else ","
    if given.is_file() and given.suffix.lower() == out.suffix.lower():
        with given.open(encoding="utf-8-sig") as file:
            delimiter = delimiter_of(file.readline(), out.suffix)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow([*map(table.header, table.columns), *added])
        for k, row in enumerate(rows):
            own = [as_text(row.cells.get(name)) for name in table.columns]
            writer.writerow([*own, *(as_text(values[k]) for values in added.values())])


def _json(given: Path, out: Path, table: Table, rows: Sequence[Row], added: Found) -> None:
    objects = [
        {table.header(name): value for name, value in row.cells.items()}
        | {name: values[k] for name, values in added.items()}
        for k, row in enumerate(rows)
    ]
    listed = out.suffix.lower() == ".json"
    if given.is_file() and given.suffix.lower() == out.suffix.lower():
        with given.open(encoding="utf-8-sig") as file:
            first = next((line.lstrip()[0] for line in file if line.strip()), "")
        listed = first == "[" or table.nested
    text = [as_json(each) for each in objects]
    out.write_text(
        "[\n" + ",\n".join(text) + "\n]\n" if listed else "".join(f"{line}\n" for line in text),
        encoding="utf-8",
    )


def _parquet(
    given: Path, out: Path, table: Table, rows: Sequence[Row], added: Found, all_rows: Sequence[Row]
) -> None:
    if _keeps_schema(given, out):
        made = _own_rows(given, rows)
    else:
        columns = {}
        for name in table.columns:
            kind = arrow_column([row.cells.get(name) for row in all_rows]).type
            columns[table.header(name)] = pa.array([row.cells.get(name) for row in rows], kind)
        made = pa.table(columns)
    for name, values in added.items():
        made = made.append_column(name, pa.array(values, pa.float64() if name == "score" else None))
    pq.write_table(made, out)


def _own_rows(given: Path, rows: Sequence[Row]) -> pa.Table:
    """Take rows from the input itself, whose schema they keep."""
    return pq.read_table(given).take([row.number - 1 for row in rows])


_WRITERS: dict[str, Callable[[Path, Path, Table, Sequence[Row], Found], None]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".json": _json,
    ".jsonl": _json,
}
