"""Rows of parquet files: Arrow's values as Python's, a column at a time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import quote
from finetune.data.loaders.records import Row


def parquet(path: Path) -> tuple[list[Row], tuple[str, ...]]:
    """Read a file's rows and the names of its columns.

    Raises:
        InputError: it is no parquet file, is damaged, or has two columns of one name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[Row] = []
    try:
        with pq.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
            name, count = Counter(names).most_common(1)[0] if names else ("", 1)
            if count > 1:
                raise InputError(f"{path}: column {quote(name)} occurs twice; rename one")
            for batch in file.iter_batches(batch_size=1 << 16):
                values = [_values(column) for column in batch.columns]
                rows += [
                    Row(file=path.name, number=number, cells=dict(zip(names, cells, strict=True)))
                    for number, cells in enumerate(zip(*values, strict=True), start=len(rows) + 1)
                ]
    except InputError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, pa.ArrowException) as error:
        raise InputError(f"{path}: is not a readable parquet file; write it again") from error
    return rows, names


def _values(column: Any) -> list[Any]:
    """Return a column's values; one that Python has no value for stays Arrow's, which is no text."""
    import pyarrow as pa

    try:
        if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
            short = column.to_numpy(zero_copy_only=False)
            pairs = zip(column.to_pylist(), short, strict=True)
            return [None if value is None else float(str(x)) for value, x in pairs]
        return list(column.to_pylist())
    except (ValueError, ArithmeticError, TypeError, RuntimeError, pa.ArrowException):
        return [_value(item) for item in column]


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except Exception:  # whatever it is, one cell is malformed, not the file
        return item
