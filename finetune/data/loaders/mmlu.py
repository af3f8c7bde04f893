"""MMLU (Hendrycks et al. 2021, arXiv 2009.03300): multiple-choice questions in 57 subsets.

Four layouts of a question, its options and the right one:

- the hub's: ``question``, ``choices`` (a list), ``answer``, and ``subject``, which names the subset;
- a header ``question, choice0, choice1, ..., answer``;
- a header ``question, A, B, ..., answer``, or with ``option_a``, ``option_b``, ...;
- the original release's: no header, options between the question and its letter.

The right one is an index from 0, a letter or the option's text
(:mod:`finetune.data.loaders.right_option`). Answers that count from 1 are refused: each would be taken for
the option behind the right one. Where no row names its subset, the file does
(``high_school_geography_test.csv``). A question is asked whole, so all of it is the subject of its fact;
lines and spaces inside it stay as they are. The data carry no popularity; columns ``relation``,
``popularity`` and ``id`` that somebody added are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from finetune.common.messages import quote
from finetune.data.loaders.cells import answers_of_cell, choices_of_cell
from finetune.data.loaders.popularity import popularity_reader
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.right_option import (
    holds_options,
    option_columns,
    options_reader,
    right_option_reader,
)
from finetune.data.loaders.scalars import Malformed, text_of_scalar, verbatim_text
from finetune.data.records.fact import Fact
from finetune.data.records.subject_position import find_subject

HUB_ID = "cais/mmlu"
_MARK = re.compile(r"_(test|dev|val|validation|train)$")


def is_layout(columns: Collection[str]) -> bool:
    """Whether a table's columns are those of a multiple-choice test.

    A table that names the relations of its facts, or their popularity, and their subjects is one's own.
    """
    options_there = "choices" in columns or bool(option_columns(columns))
    is_own = "subject" in columns and not {"relation", "popularity"}.isdisjoint(columns)
    return options_there and {"question", "answer"} <= set(columns) and not is_own


def is_multiple_choice(table: Table) -> bool:
    """Whether a table is a multiple-choice test, whose ``subject`` if it has one names the subset.

    A table whose questions name their subjects is one's own: half of them, or with ids any of them. Where a
    subject has more than two questions in the mean it is nine in ten, ids or not: a subset's name occurs in
    some of its questions.

    Raises:
        InputError: see :func:`finetune.data.loaders.right_option.holds_options`.
    """
    if not {"question", "answer"} <= set(table.columns):
        return False
    # In this order, for options that cannot be read are refused in a table of one's own, too.
    is_test = holds_options(table) and is_layout(table.columns)
    return is_test and ("subject" not in table.columns or not _names_subjects(table))


def _names_subjects(table: Table) -> bool:
    """Whether the subjects of a table occur in its questions, as those of one's own do."""
    named = asked = 0
    subjects: set[str] = set()
    for row in table.rows:
        subject, question = row.cells.get("subject"), row.cells.get("question")
        if isinstance(subject, str) and isinstance(question, str) and subject.strip():
            asked += 1
            subjects.add(subject.casefold())
            named += find_subject(" ".join(subject.split()), " ".join(question.split())) is not None
    if 2 * len(subjects) < asked:
        return 10 * named >= 9 * asked
    return named > 0 and (2 * named >= asked or "id" in table.columns)


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads this table's rows; a fact's id is its own, or its subset and its row in it, from 1.

    Raises:
        InputError: the answers count the options from 1, or one of them means two options.
    """
    named_by_file = _MARK.sub("", table.name.split(".")[0].removeprefix("mmlu:"))
    options_of, right_option = options_reader(table), right_option_reader(table)
    popularity_of = popularity_reader(table)

    def subset_of(cells: Mapping[str, Any]) -> str:
        return text_of_scalar(cells.get("relation")) or text_of_scalar(cells.get("subject")) or named_by_file

    numbers: Counter[str] = Counter()
    place = {}
    for row in table.rows:
        try:
            subset = subset_of(row.cells)
        except Malformed:  # which the row's own reading says
            continue
        numbers[subset] += 1
        place[row.number] = numbers[subset]

    def to_fact(row: Row) -> Fact:
        cells, subset = row.cells, subset_of(row.cells)
        stem = verbatim_text(cells.get("question"))
        if not stem:
            raise Malformed("empty question")
        choices = choices_of_cell(options_of(cells))
        right = right_option(cells, choices)
        if right is None:
            raise Malformed(_why_no_option(cells.get("answer"), choices))
        return Fact(
            id=text_of_scalar(cells.get("id")) or f"{subset}/{place[row.number]}",
            subject=stem,
            relation=subset,
            answers=answers_of_cell((choices[right],)),
            question=stem,
            popularity=popularity_of(cells),
            choices=choices,
        )

    return to_fact


def _why_no_option(value: Any, choices: tuple[str, ...]) -> str:
    """Say why an answer names no option."""
    told = text_of_scalar(value)
    if not told:
        return "empty answer"
    if re.fullmatch(r"-?\d{1,9}(\.0)?|[A-Za-z]", told):
        return f"the answer {quote(told)} names none of the {len(choices)} choices"
    return f"the answer {quote(told)} is neither an option's index nor its letter, nor its text"
