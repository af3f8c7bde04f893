"""EntityQuestions (Sciavolino et al. 2021, arXiv 2109.08535): questions from one template per relation.

Rows have a question and its answers only. The relation is a Wikidata property named by the file
(``P17.dev.json``), and the subject is what stands in the slot of that relation's template. The data
carry no popularity. The release has 24 relations in three splits; :mod:`finetune.data.loaders.directory`
reads a directory of them.
"""

from __future__ import annotations

from collections.abc import Callable

from finetune.common.messages import quote
from finetune.data.loaders.cells import answers_of_cell, text, texts_of_cell
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed
from finetune.data.records.fact import Fact
from finetune.data.records.subject_position import SLOT

# The data set's question templates.
TEMPLATES = {
    "P17": "Which country is {subject} located in?",
    "P19": "Where was {subject} born?",
    "P20": "Where did {subject} die?",
    "P26": "Who is {subject} married to?",
    "P30": "Which continent is {subject} located?",
    "P36": "What is the capital of {subject}?",
    "P40": "Who is {subject}'s child?",
    "P50": "Who is the author of {subject}?",
    "P69": "Where was {subject} educated?",
    "P106": "What kind of work does {subject} do?",
    "P112": "Who founded {subject}?",
    "P127": "Who owns {subject}?",
    "P131": "Where is {subject} located?",
    "P136": "What type of music does {subject} play?",
    "P159": "Where is the headquarter of {subject}?",
    "P170": "Who was {subject} created by?",
    "P175": "Who performed {subject}?",
    "P176": "Which company is {subject} produced by?",
    "P264": "What music label is {subject} represented by?",
    "P276": "Where is {subject} located?",
    "P407": "Which language was {subject} written in?",
    "P413": "What position does {subject} play?",
    "P495": "Which country was {subject} created in?",
    "P740": "Where was {subject} founded?",
    "P800": "What is {subject} famous for?",
}


def relation_of(file: str) -> str | None:
    """Return the relation that a file's name begins with, if it is one of the data set's."""
    relation = file.split(".")[0]
    return relation if relation in TEMPLATES else None


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads this file's rows.

    Raises:
        InputError: the file's name does not begin with one of the data set's relations.
    """
    relation = relation_of(table.name)
    if relation is None:
        raise table.lacks(
            "subject", but=", or name the file after its relation (its name is no EntityQuestions relation)"
        )
    before, after = TEMPLATES[relation].split(SLOT)

    def to_fact(row: Row) -> Fact:
        question = text(row.cells.get("question"), "question")
        subject = question[len(before) : len(question) - len(after)].strip()
        if not subject or not (question.startswith(before) and question.endswith(after)):
            raise Malformed(f"the question {quote(question)} does not follow {before + SLOT + after!r}")
        return Fact(
            id=f"{relation}/{subject}",
            subject=subject,
            relation=relation,
            answers=answers_of_cell(texts_of_cell(row.cells.get("answers"), "answers")),
            question=question,
        )

    return to_fact
