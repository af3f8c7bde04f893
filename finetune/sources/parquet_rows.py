"""Rows of parquet files: Arrow's values as Python's, a column at a time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from finetune.echo import shown
from finetune.facts import InputError
from finetune.sources.records import Row


def parquet(path: Path) -> tuple[list[Row], tuple[str, ...]]:
    """Read a file's rows and the names of its columns.

    Raises:
        InputError: it is no parquet file, is damaged, or has two columns of one name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, ValueError, TypeError, NotImplementedError, pa.ArrowException) as error:
        raise InputError(f"{path}: is not a readable parquet file; write it again") from error
    name, count = Counter(table.column_names).most_common(1)[0] if table.column_names else ("", 1)
    if count > 1:
        raise InputError(f"{path}: column {shown(name)} occurs twice; rename one")
    rows: list[Row] = []
    for batch in table.to_batches(max_chunksize=1 << 16):
        values = [_values(column) for column in batch.columns]
        first = len(rows) + 1
        rows += [
            Row(file=path.name, number=number, cells=dict(zip(table.column_names, cells, strict=True)))
            for number, cells in enumerate(zip(*values, strict=True), start=first)
        ]
    return rows, tuple(table.column_names)


def _values(column: Any) -> list[Any]:
    """Return a column's values; one that Python has no value for stays Arrow's, which is no text."""
    import pyarrow as pa

    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, ArithmeticError, TypeError, NotImplementedError, pa.ArrowException):
        return [_value(item) for item in column]


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except Exception:  # whatever it is, one cell is malformed, not the file
        return item
