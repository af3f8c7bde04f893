"""MMLU (Hendrycks et al. 2021, arXiv 2009.03300): multiple-choice questions in 57 subsets.

Three layouts of a question, its options and the right one (an index from 0, or a letter):

- the hub's: ``question``, ``choices`` (a list), ``answer``, and ``subject``, which names the subset;
- a header ``question, choice0, choice1, ..., answer``;
- the original release's: no header, options between the question and its letter.

Answers that count from 1 are refused: each would be taken for the option behind the right one. Where no row
names its subset, the file does (``high_school_geography_test.csv``). A question is asked whole,
so all of it is the subject of its fact; lines and spaces inside it stay as they are. The data carry no
popularity.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import quote
from finetune.data.loaders.cells import answers_of_cell, choices_of_cell, items_of_cell
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed, text_of_scalar, verbatim_text
from finetune.data.records.fact import Fact

HUB_ID = "cais/mmlu"
_MARK = re.compile(r"_(test|dev|val|validation|train)$")
_OPTION = re.compile(r"choice\d{1,4}")
_INDEX = re.compile(r"-?\d{1,9}(\.0)?")


def is_layout(columns: Collection[str]) -> bool:
    """Whether a table's columns are those of a multiple-choice test.

    A table that names the relations of its facts is one's own.
    """
    options_there = "choices" in columns or "choice0" in columns
    return options_there and {"question", "answer"} <= set(columns) and "relation" not in columns


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads this table's rows; a fact's id is its subset and its row in it, from 1.

    Raises:
        InputError: the answers count the options from 1.
    """
    named_by_file = _MARK.sub("", table.name.split(".")[0].removeprefix("mmlu:"))
    listed = sorted(filter(_OPTION.fullmatch, table.columns), key=lambda c: int(c.removeprefix("choice")))

    def subset_of(cells: Mapping[str, Any]) -> str:
        return text_of_scalar(cells.get("subject")) or named_by_file

    counted: Counter[str] = Counter()
    place = {}
    for row in table.rows:
        try:
            subset = subset_of(row.cells)
        except Malformed:  # which the row's own reading says
            continue
        counted[subset] += 1
        place[row.number] = counted[subset]

    def given(cells: Mapping[str, Any]) -> list[Any]:
        return (
            [cells.get(column) for column in listed]
            if listed
            else items_of_cell(cells.get("choices"), "choices")
        )

    _require_from_zero(table, given)

    def to_fact(row: Row) -> Fact:
        cells, subset = row.cells, subset_of(row.cells)
        stem = verbatim_text(cells.get("question"))
        if not stem:
            raise Malformed("empty question")
        choices = choices_of_cell(given(cells))
        return Fact(
            id=f"{subset}/{place[row.number]}",
            subject=stem,
            relation=subset,
            answers=answers_of_cell((choices[_right(cells.get("answer"), choices)],)),
            question=stem,
            choices=choices,
        )

    return to_fact


def _right(value: Any, choices: tuple[str, ...]) -> int:
    """Return the index of the right option, given as one or as a letter."""
    told = text_of_scalar(value)
    if not told:
        raise Malformed("empty answer")
    if _INDEX.fullmatch(told):
        index = int(told.removesuffix(".0"))
    elif re.fullmatch(r"[A-Za-z]", told):
        index = ord(told.upper()) - ord("A")
    else:
        raise Malformed(f"the answer {quote(told)} is neither an option's index nor its letter")
    if not 0 <= index < len(choices):
        raise Malformed(f"the answer {quote(told)} names none of the {len(choices)} choices")
    return index


def _require_from_zero(table: Table, given: Callable[[Mapping[str, Any]], list[Any]]) -> None:
    """Refuse answers none of which is 0 and some of which name one more option than there are."""
    last = 0
    for row in table.rows:
        try:
            told = text_of_scalar(row.cells.get("answer"))
            if not _INDEX.fullmatch(told):
                continue
            index = int(told.removesuffix(".0"))
            if index == 0:
                return
            last += index == _count(given(row.cells))
        except Malformed:  # which the row's own reading says
            continue
    if last:
        raise InputError(
            f"{table.name}: the column 'answer' counts the choices from 1 (no row says 0, and {last:,} say "
            "how many choices there are); subtract 1 from every answer, or write letters (A, B, ...)"
        )


def _count(choices: Any) -> int:
    """Count the choices that a row writes, readable or not; empty ones at the end are none."""
    if not isinstance(choices, list | tuple):
        try:
            return len(choices_of_cell(choices))  # a list that is written as text
        except Malformed:
            return 0
    written = [choice not in (None, "") and str(choice).strip() not in ("", "nan") for choice in choices]
    return max((i + 1 for i, there in enumerate(written) if there), default=0)
