"""One's own table: a subject and its answers in a row, and whatever else is known of the fact.

Columns: ``subject``; ``answer``, ``answers`` or both; and if wanted ``relation``, ``question``,
``popularity``, ``choices`` and ``id``. ``answers`` is a list, a JSON list as text, or texts
separated by ``|``; where ``answer`` is there too, it is the canonical one. ``choices``, written alike, are
the options of a multiple-choice question, the canonical answer among them; a row may leave them empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from finetune.facts import Fact, InputError
from finetune.prompts import find_subject
from finetune.sources.cells import Malformed, answers, clean, distinct, items, number, options, several, text
from finetune.sources.gather import UNNAMED, prompt_key
from finetune.sources.rows import Row, Table


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads this table's rows.

    Raises:
        InputError: no column ``subject``, or neither ``answer`` nor ``answers``.
    """
    table.require("subject")
    if not {"answer", "answers"} & set(table.columns):
        found = ", ".join(table.columns)
        raise InputError(f"{table.name}: no column 'answer' or 'answers'; add one (found: {found})")
    counted = "popularity" in table.columns

    def to_fact(row: Row) -> Fact:
        cells = row.cells
        subject = text(cells.get("subject"), "subject")
        question = clean(cells.get("question"))
        accepted = distinct((clean(cells.get("answer")), *several(cells.get("answers"), "answers")))
        fact = Fact(
            id=clean(cells.get("id")),
            subject=subject,
            relation=clean(cells.get("relation")) or UNNAMED,
            answers=answers(accepted),
            question=question_naming(subject, question) if question else None,
            popularity=number(cells.get("popularity"), "popularity") if counted else None,
            choices=_choices(cells.get("choices"), accepted),
        )
        # An id made of the contents stays the same when rows are moved or added.
        return fact if fact.id else replace(fact, id="/".join(prompt_key(fact)))

    return to_fact


def _choices(value: Any, accepted: tuple[str, ...]) -> tuple[str, ...]:
    given = items(value, "choices")
    if not any(clean(option) for option in given):
        return ()
    choices = options(given)
    if accepted and accepted[0] not in choices:
        raise Malformed(f"the answer {accepted[0]!r} is not among the choices")
    return choices


def question_naming(subject: str, question: str) -> str:
    """Return the question if the subject occurs in it; one that does not is malformed."""
    if find_subject(subject, question) is None:
        raise Malformed(f"the subject {subject!r} does not occur in its question {question!r}")
    return question
