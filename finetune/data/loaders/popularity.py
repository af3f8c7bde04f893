"""Popularity of a table's rows: numbers of at least zero, written with plain digits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import quote
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed, text_of_scalar

COLUMN = "popularity"
_GROUPED = re.compile(r"\d{1,3}([,.'\u2019 \u00a0\u202f])\d{3}(\1\d{3})*([.,]\d+)?")
_NUMBER = re.compile(r"\d+(\.\d*)?(e[+-]?\d+)?", re.I)


def popularity_reader(table: Table, column: str = COLUMN) -> Callable[[Mapping[str, Any]], float | None]:
    """Return what reads a row's popularity from its cells; None where the table has none.

    Args:
        table: the table.
        column: its column.

    Raises:
        InputError: thousands are separated in the column: it would be read as other numbers, or not at all,
            from a thousand on.
    """
    if column not in table.columns:
        return lambda cells: None
    if (row := _grouped(table, column)) is not None:
        raise InputError(
            f"{row.where}: {table.header(column)} {quote(row.cells[column], 30)} looks like thousands with a "
            "separator; write plain digits (and decimals with a point in every row, as 5.0)"
        )
    return lambda cells: number_of_cell(cells.get(column), column)


def number_of_cell(value: Any, column: str) -> float:
    """Return a cell that must hold a finite number of at least zero."""
    told = column if column == "popularity" else f"{column} (popularity)"
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Malformed(f"{told} is missing")
    if isinstance(value, bytes):
        value = text_of_scalar(value)
    is_number = type(value).__name__ not in ("bool", "bool_") and not (
        isinstance(value, str) and "_" in value
    )
    try:
        found = float(value) if is_number else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise Malformed(f"{told} {quote(value, 30)} is not a number")
    if found < 0:
        raise Malformed(f"{told} {quote(value, 30).strip(chr(39))} is negative")
    return found


def _grouped(table: Table, column: str) -> Row | None:
    """Return the first row whose number has separators of thousands.

    A single point is one where all points of the column stand before three digits, and all numbers without
    one are below a thousand: of ``999``, ``1.234`` and ``12.345`` the last two are thousands.
    """
    pointed: Row | None = None
    is_decimal = has_plain = False
    for row in table.rows:
        value = row.cells.get(column)
        text = value.strip() if isinstance(value, str) else ""
        found = None if text[:1] == "0" else _GROUPED.fullmatch(text)
        if found and (found[1] != "." or found[2] or found[3]):
            return row
        if found:
            pointed = pointed or row
        elif text.isdecimal() and len(text) < 4:
            has_plain = True
        elif _NUMBER.fullmatch(text):
            is_decimal = True
    return pointed if has_plain and not is_decimal else None
