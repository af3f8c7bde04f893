"""EntityQuestions (Sciavolino et al. 2021, arXiv 2109.08535): questions from one template per relation.

Rows have a question and its answers only. The relation is a Wikidata property named by the file
(``P17.dev.json``), and the subject is what stands in the slot of that relation's template. The data
carry no popularity; columns ``popularity``, ``answer`` and ``id`` that somebody added are read. The
release has 24 relations in three splits; :mod:`finetune.data.loaders.directory`
reads a directory of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from finetune.common.messages import quote
from finetune.common.yaml_files import load_yaml
from finetune.data.loaders.cells import answers_of_cell, text
from finetune.data.loaders.popularity import popularity_reader
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed, text_of_scalar
from finetune.data.loaders.table import answers_reader
from finetune.data.records.fact import Fact
from finetune.data.records.subject_position import SLOT

WORDINGS = load_yaml(Path(__file__).parents[1] / "templates" / "entity_questions.yaml")
TEMPLATES: dict[str, str] = {relation: held["asked"] for relation, held in WORDINGS.items()}


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
    popularity_of, answers_of = popularity_reader(table), answers_reader(table)

    def to_fact(row: Row) -> Fact:
        question = text(row.cells.get("question"), "question")
        subject = question[len(before) : len(question) - len(after)].strip()
        if not subject or not (question.startswith(before) and question.endswith(after)):
            raise Malformed(f"the question {quote(question)} does not follow {before + SLOT + after!r}")
        return Fact(
            id=text_of_scalar(row.cells.get("id")) or f"{relation}/{subject}",
            subject=subject,
            relation=relation,
            answers=answers_of_cell(answers_of(row.cells)),
            question=question,
            popularity=popularity_of(row.cells),
        )

    return to_fact
