"""PopQA (Mallen et al. 2023, arXiv 2212.10511): 16 relations, with each subject's monthly page views.

Only ``subj``, ``prop`` and ``obj`` have to be there: dumps leave out the id or the page views.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from finetune.data.loaders.cells import distinct, number_of_cell, text, texts_of_cell
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed
from finetune.data.loaders.table import fact_with_id, holds_whole_numbers, question_naming
from finetune.data.records.fact import Fact

HUB_ID = "akariasai/PopQA"
COLUMNS = ("subj", "prop", "obj")


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads the rows; the answer is ``obj``, the other possible answers are its aliases.

    Raises:
        InputError: a column that has to be there is missing.
    """
    table.require(*COLUMNS)
    counted, identified = "s_pop" in table.columns, "id" in table.columns
    whole = {column: holds_whole_numbers(table, column) for column in ("id", "subj", "obj")}

    def to_fact(row: Row) -> Fact:
        cells = row.cells
        subject = text(cells.get("subj"), "subj", whole=whole["subj"])
        aliases = texts_of_cell(cells.get("possible_answers"), "possible_answers")
        if "possible_answers" in cells and not aliases:
            raise Malformed("empty answer list")
        question = text(cells.get("question"), "question") if "question" in cells else None
        return fact_with_id(
            text(cells.get("id"), "id", whole=whole["id"]) if identified else "",
            subject=subject,
            relation=sys.intern(text(cells.get("prop"), "prop")),
            answers=distinct((text(cells.get("obj"), "obj", whole=whole["obj"]), *aliases)),
            question=question_naming(subject, question) if question else None,
            popularity=number_of_cell(cells.get("s_pop"), "s_pop") if counted else None,
        )

    return to_fact
