"""Cells as they are written in each format, and the first one that a format cannot hold.

JSON holds whatever JSON held. Delimited text is UTF-8, which has no half of a character. A column of parquet
has one type, so that it holds no column of JSON whose values are of several.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finetune.common.errors import InputError
from finetune.common.messages import printable, quote
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed, text_of_scalar

_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError)  # UnicodeError is a ValueError


def as_text(value: Any) -> str:
    """Return a cell of delimited text: nothing for None, a list or an object as JSON, else as it is read."""
    if value is None:
        return ""
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    try:
        return str(value) if isinstance(value, str | bool) else text_of_scalar(value)
    except Malformed:  # infinite, or of more digits than a float has
        return str(value)


def as_json(value: Any) -> str:
    """Return a value as JSON that can be written as UTF-8; half of a character stays escaped, as it came."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def arrow_column(values: Sequence[Any]) -> pa.Array:
    """Return a column as Arrow's, in the type that all its values decide.

    Raises:
        pyarrow.ArrowException, ValueError, TypeError, OverflowError: they have no type in common.
    """
    made = pa.array(values)
    # Some types can be built, but not be stored.
    pq.write_table(pa.table({"column": made.slice(0, 1)}), pa.BufferOutputStream())
    return made


def require_encodable(table: Table, rows: Sequence[Row], out: Path, option: str) -> None:
    """Refuse an output whose format cannot hold one of some rows.

    Args:
        table: the table of the rows.
        rows: all that may be written.
        out: the file; its extension says the format.
        option: the option that names it.

    Raises:
        InputError: names the column, the row and the remedy.
    """
    extension = out.suffix.lower()
    if extension == ".parquet":
        fails: Callable[[Sequence[Any]], str] = _fails_in_arrow
    elif extension in (".json", ".jsonl"):
        fails = _failing(as_json)
    else:
        fails = _failing(lambda value: as_text(value).encode())
    for name in table.columns:
        header = table.header(name)
        if extension not in (".json", ".jsonl") and (why := _failing(str.encode)([header])):
            raise InputError(f"{option} {out}: the column name {quote(header)} {why}; rename it")
        values = [row.cells.get(name) for row in rows]
        if why := fails(values):
            at = bisect_left(range(1, len(values) + 1), True, key=lambda n: bool(fails(values[:n])))
            where = rows[min(at, len(rows) - 1)].where
            raise InputError(
                f"{option} {out}: cannot hold the column {quote(header)} ({where} {why}); "
                + _remedy(extension)
            )


def _remedy(extension: str) -> str:
    if extension in (".json", ".jsonl"):
        return "write the input's own format"
    return "write .jsonl, which holds any column, or make its cells of one kind"


def _fails_in_arrow(values: Sequence[Any]) -> str:
    try:
        arrow_column(values)
    except _ERRORS as error:
        return f"does not go with it: {printable(error, 80)}"
    return ""


def _failing(write: Callable[[Any], Any]) -> Callable[[Sequence[Any]], str]:
    """Make a check that says why the first of some values that cannot be written cannot."""

    def fails(values: Sequence[Any]) -> str:
        for value in values:
            try:
                write(value)
            except UnicodeEncodeError:
                return "holds half of a character, which is no UTF-8"
            except _ERRORS as error:
                return f"cannot be written: {printable(error, 80)}"
        return ""

    return fails
