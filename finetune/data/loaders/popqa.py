"""PopQA (Mallen et al. 2023, arXiv 2212.10511): 16 relations, with each subject's monthly page views.

Only ``subj``, ``prop`` and ``obj`` have to be there: dumps leave out the id or the page views. A column that
``--columns`` names takes the place of the data set's own: ``popularity=o_pop`` ranks by the answer's views.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection

from finetune.data.loaders.cells import answers_of_cell, distinct, text, texts_of_cell
from finetune.data.loaders.popularity import COLUMN, popularity_reader
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed
from finetune.data.loaders.table import answers_reader, fact_with_id, holds_whole_numbers, question_naming
from finetune.data.records.fact import Fact

HUB_ID = "akariasai/PopQA"
COLUMNS = ("subj", "prop", "obj")


def reader(table: Table, mapped: Collection[str] = ()) -> Callable[[Row], Fact]:
    """Return what reads the rows; the answer is ``obj``, the other possible answers are its aliases.

    Args:
        table: the table.
        mapped: names here that ``--columns`` gave to columns of it.

    Raises:
        InputError: a column that has to be there is missing.
    """
    table.require(*COLUMNS)
    identified, prop = "id" in table.columns, "relation" if "relation" in mapped else "prop"
    popularity_of = popularity_reader(table, COLUMN if _counts(table, mapped) else "s_pop")
    whole = {column: holds_whole_numbers(table, column) for column in ("id", "subj", "obj")}
    own_answers = answers_reader(table) if {"answer", "answers"} & set(mapped) else None

    def answers_of(row: Row) -> tuple[str, ...]:
        if own_answers is not None:
            return own_answers(row.cells)
        aliases = texts_of_cell(row.cells.get("possible_answers"), "possible_answers")
        if "possible_answers" in row.cells and not aliases:
            raise Malformed("empty answer list")
        return distinct((text(row.cells.get("obj"), "obj", whole=whole["obj"]), *aliases))

    def to_fact(row: Row) -> Fact:
        cells = row.cells
        subject = text(cells.get("subj"), "subj", whole=whole["subj"])
        answers = answers_of(row)
        question = text(cells.get("question"), "question") if "question" in cells else None
        return fact_with_id(
            text(cells.get("id"), "id", whole=whole["id"]) if identified else "",
            subject=subject,
            relation=sys.intern(text(cells.get(prop), prop)),
            answers=answers_of_cell(answers),
            question=question_naming(subject, question) if question else None,
            popularity=popularity_of(cells),
        )

    return to_fact


def _counts(table: Table, mapped: Collection[str]) -> bool:
    """Whether popularity is a column of its own, not the data set's."""
    return COLUMN in mapped or (COLUMN in table.columns and "s_pop" not in table.columns)
