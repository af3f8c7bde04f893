"""A bare list of questions and answers: nothing says what one is about, so that all of it is the subject.

Columns: ``question``; ``answer``, ``answers`` or both; and if wanted ``relation``, ``popularity`` and ``id``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection

from finetune.data.loaders.cells import answers_of_cell, text
from finetune.data.loaders.popularity import popularity_reader
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import text_of_scalar
from finetune.data.loaders.table import UNNAMED, answers_reader
from finetune.data.records.fact import Fact


def is_layout(columns: Collection[str]) -> bool:
    """Whether a table's columns are questions and answers without subjects."""
    return "question" in columns and "subject" not in columns and bool({"answer", "answers"} & set(columns))


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads this table's rows; without an id, a fact is told apart by relation and question."""
    popularity_of, answers_of = popularity_reader(table), answers_reader(table)

    def to_fact(row: Row) -> Fact:
        cells = row.cells
        question = text(cells.get("question"), "question")
        relation = sys.intern(text_of_scalar(cells.get("relation")) or UNNAMED)
        return Fact(
            id=text_of_scalar(cells.get("id")) or f"{relation}/{question}",
            subject=question,
            relation=relation,
            answers=answers_of_cell(answers_of(cells)),
            question=question,
            popularity=popularity_of(cells),
        )

    return to_fact
