"""Sources of facts: PopQA, EntityQuestions and one's own tables, told apart by their columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from finetune.facts import Fact, FactSet
from finetune.sources import entity_questions, popqa, table
from finetune.sources.gather import gather
from finetune.sources.rows import Row, Table, read_table


def load(source: str | Path, *, limit: int | None = None, seed: int = 0) -> FactSet:
    """Load facts from ``"popqa"`` (the hub's data set) or from a CSV, TSV, JSON, JSONL or parquet file.

    What cannot be used is in the set's ``left_out``, by line. ``limit`` keeps a random draw of that many
    usable facts, taken with ``seed`` and kept in the source's order.

    Raises:
        InputError: the source cannot be read, lacks a column, or is over half malformed.
    """
    rows = popqa.from_hub() if source == "popqa" else read_table(Path(source).expanduser())
    return gather(rows, _reader(rows), limit=limit, seed=seed)


def _reader(rows: Table) -> Callable[[Row], Fact]:
    columns = set(rows.columns)
    if "subj" in columns and "subject" not in columns:
        rows.require(*popqa.COLUMNS)
        return popqa.to_fact
    if {"question", "answers"} <= columns and "subject" not in columns:
        return entity_questions.reader(rows)
    return table.reader(rows)
