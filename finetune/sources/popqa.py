"""PopQA (Mallen et al. 2023, arXiv 2212.10511): 16 relations, with each subject's monthly page views."""

from __future__ import annotations

from finetune.facts import Fact
from finetune.sources.cells import answers, distinct, number, several, text
from finetune.sources.rows import Row
from finetune.sources.table import question_naming

HUB_ID = "akariasai/PopQA"
COLUMNS = ("id", "subj", "prop", "obj", "s_pop", "question", "possible_answers")


def to_fact(row: Row) -> Fact:
    """Read one row; the answer is ``obj``, the other possible answers are its aliases."""
    cells = row.cells
    subject = text(cells.get("subj"), "subj")
    possible = answers(several(cells.get("possible_answers"), "possible_answers"))
    return Fact(
        id=text(cells.get("id"), "id"),
        subject=subject,
        relation=text(cells.get("prop"), "prop"),
        answers=distinct((text(cells.get("obj"), "obj"), *possible)),
        question=question_naming(subject, text(cells.get("question"), "question")),
        popularity=number(cells.get("s_pop"), "s_pop"),
    )
