"""Rows of a file, each with its place in it: delimited text, JSON, JSON lines and parquet.

How each kind is read is for :mod:`finetune.data.loaders.delimited`, :mod:`finetune.data.loaders.json_rows`
and :mod:`finetune.data.loaders.parquet_rows`. Columns are called as :mod:`finetune.data.loaders.columns`
says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from finetune.common.errors import InputError
from finetune.common.text_files import require_regular
from finetune.data.loaders.delimited import delimited
from finetune.data.loaders.json_rows import json_table, lines_of
from finetune.data.loaders.parquet_rows import parquet
from finetune.data.loaders.records import Table, table_of, text_of

EXTENSIONS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def read_table(path: Path, columns: Mapping[str, str] | None = None, pointer: str = "") -> Table:
    """Read a file's rows by its extension; lines are counted from 1, a header included.

    ``pointer`` leads to a list inside a JSON object, as ``data.dev``; ``columns`` are what the file calls its
    columns, by their names here.

    Raises:
        InputError: no such file, an unknown extension, not UTF-8, or nothing in it.
    """
    if path.exists():
        require_regular(path)
    else:
        raise InputError(
            f"{path}: no such file; give a file or directory of facts, popqa, mmlu, or a hub id (owner/name)"
        )
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise InputError(
            f"{path}: unknown extension {path.suffix!r}; save it as one of {', '.join(EXTENSIONS)}"
        )
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty; give a file with a header and rows")
    if pointer and extension != ".json":
        raise InputError(f"{path}#{pointer}: only in a .json file can a list be pointed at; leave #... out")
    if extension == ".json":
        table = json_table(path, columns, pointer)
    elif extension == ".parquet":
        rows, found = parquet(path)
        table = table_of(path.name, rows, columns, path=path, found=found)
    else:
        is_json = extension == ".jsonl"
        lines = list(lines_of(path.name, text_of(path)) if is_json else delimited(path))
        table = table_of(path.name, lines, columns, path=path)
    if not table.rows:
        raise InputError(f"{path}: has no rows; give at least one")
    if not table.columns:
        first = table.rows[0]
        raise InputError(f"{path.parent / first.where}: {first.problem or 'is empty'}; repair the file")
    return table
