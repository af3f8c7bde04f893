"""One's own table: a subject and its answers in a row, and whatever else is known of the fact.

Columns: ``subject``; ``answer``, ``answers`` or both; and if wanted ``relation``, ``question``,
``popularity``, ``choices`` and ``id``. ``answers`` is a list, a list written as text, or texts separated by
``|``; where ``answer`` is there too, it is the canonical one; a list in it is several answers. ``choices``,
written alike, are the options of a multiple-choice question, the canonical answer among them or named by its
index or letter (:mod:`finetune.data.loaders.right_option`); a row may leave them empty.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from finetune.common.messages import quote
from finetune.data.loaders.cells import (
    answers_of_cell,
    answers_of_single_column,
    are_whole_numbers,
    choices_of_cell,
    distinct,
    text,
    texts_of_cell,
)
from finetune.data.loaders.popularity import popularity_reader
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.right_option import (
    holds_options,
    options_reader,
    right_option_reader,
)
from finetune.data.loaders.scalars import Malformed, text_of_scalar, verbatim_text
from finetune.data.records.fact import Fact
from finetune.data.records.subject_position import find_subject

UNNAMED = "fact"  # the relation of a table that names none; its questions tell its facts apart


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads this table's rows.

    Raises:
        InputError: no column ``subject``, or neither ``answer`` nor ``answers``.
    """
    table.require("subject")
    answers_of = answers_reader(table)
    popularity_of, whole = popularity_reader(table), holds_whole_numbers(table, "subject")
    accept_option = _option_accepter(table) if holds_options(table) else None

    def to_fact(row: Row) -> Fact:
        cells = row.cells
        subject = text(cells.get("subject"), "subject", whole=whole)
        question = text(cells["question"], "question") if text_of_scalar(cells.get("question")) else None
        accepted: tuple[str, ...] = answers_of(cells)
        choices: tuple[str, ...] = ()
        if accept_option is not None:
            accepted, choices = accept_option(cells, accepted)
        return fact_with_id(
            text_of_scalar(cells.get("id")),
            subject=subject,
            relation=sys.intern(text_of_scalar(cells.get("relation")) or UNNAMED),
            answers=answers_of_cell(accepted),
            question=question_naming(subject, question) if question else None,
            popularity=popularity_of(cells),
            choices=choices,
        )

    return to_fact


def fact_with_id(id: str, **contents: Any) -> Fact:
    """Make a fact; one without an id has one made of its contents, the same when rows are moved or added."""
    if id:
        return Fact(id=id, **contents)
    subject, relation = contents["subject"], contents["relation"]
    key = prompt_key_of(relation, subject, contents["question"], contents.get("choices", ()))
    return Fact(id="/".join(key), **contents)


def prompt_key_of(
    relation: str, subject: str, question: str | None, choices: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what decides a fact's prompt: relation, subject, and options if there are any.

    If no relation is named, its question decides too.

    Args:
        relation: the fact's relation, or nothing.
        subject: its subject.
        question: its own question, if it has one.
        choices: its options.
    """
    if choices:
        return (relation, subject, question or "", *sorted(choices))
    return (relation, subject, question) if relation == UNNAMED and question else (relation, subject)


def answers_reader(table: Table) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
    """Return what reads the answers of a row's cells, the canonical one first.

    Raises:
        InputError: the table has neither ``answer`` nor ``answers``.
    """
    one, more = "answer" in table.columns, "answers" in table.columns
    if not (one or more):
        raise table.lacks("answer", "answers")
    whole, wholes = holds_whole_numbers(table, "answer"), holds_whole_numbers(table, "answers")

    def read(cells: Mapping[str, Any]) -> tuple[str, ...]:
        first = answers_of_single_column(cells.get("answer"), "answer", whole=whole) if one else ()
        return (
            distinct((*first, *texts_of_cell(cells.get("answers"), "answers", whole=wholes)))
            if more
            else first
        )

    return read


def holds_whole_numbers(table: Table, column: str) -> bool:
    """Whether a column holds whole numbers that were written as floats; see :func:`are_whole_numbers`."""
    return column in table.columns and are_whole_numbers(row.cells.get(column) for row in table.rows)


_Accepted = tuple[tuple[str, ...], tuple[str, ...]]


def _option_accepter(table: Table) -> Callable[[Mapping[str, Any], tuple[str, ...]], _Accepted]:
    """Return what makes of a row's cells and answers its answers, the right option first, and its options."""
    options_of, right_option = options_reader(table), right_option_reader(table)

    def accept_option(cells: Mapping[str, Any], accepted: tuple[str, ...]) -> _Accepted:
        given = options_of(cells)
        if not any(verbatim_text(option) for option in given):
            return accepted, ()
        choices = choices_of_cell(given)
        written = cells.get("answer")
        is_single = not isinstance(written, list | tuple | dict) and not hasattr(written, "tolist")
        right = right_option(cells, choices) if is_single else None
        if right is not None:
            # An index or a letter is no answer itself.
            own = accepted if text_of_scalar(written) == choices[right] else accepted[1:]
            return distinct((choices[right], *own)), choices
        if accepted and accepted[0] not in choices:
            raise Malformed(f"the answer {quote(accepted[0])} is not among the choices")
        return accepted, choices

    return accept_option


def question_naming(subject: str, question: str) -> str:
    """Return the question if the subject occurs in it; one that does not is malformed."""
    if find_subject(subject, question) is None:
        raise Malformed(f"the subject {quote(subject)} does not occur in its question {quote(question)}")
    return question
