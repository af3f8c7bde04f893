"""MMLU (Hendrycks et al. 2021, arXiv 2009.03300): multiple-choice questions in 57 subsets.

Three layouts of a question, its options and the right one (an index from 0, or a letter):

- the hub's: ``question``, ``choices`` (a list), ``answer``, and ``subject``, which names the subset;
- a header ``question, choice0, choice1, ..., answer``;
- the original release's: no header, options between the question and its letter.

Where no row names its subset, the file does (``high_school_geography_test.csv``). A question is asked whole,
so all of it is the subject of its fact; lines and spaces inside it stay as they are. The data carry no
popularity.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from finetune.facts import Fact
from finetune.sources.cells import Malformed, answers, clean, items, options, verbatim
from finetune.sources.rows import Row, Table

HUB_ID = "cais/mmlu"
_MARK = re.compile(r"_(test|dev|val|validation|train)$")
_OPTION = re.compile(r"choice\d+")


def is_layout(columns: Collection[str]) -> bool:
    """Whether a table's columns are those of a multiple-choice test.

    A table that names the relations of its facts is one's own.
    """
    options_there = "choices" in columns or "choice0" in columns
    return options_there and {"question", "answer"} <= set(columns) and "relation" not in columns


def reader(table: Table) -> Callable[[Row], Fact]:
    """Return what reads this table's rows; a fact's id is its subset and its row in it, from 1."""
    named_by_file = _MARK.sub("", table.name.split(".")[0].removeprefix("mmlu:"))
    listed = sorted(filter(_OPTION.fullmatch, table.columns), key=lambda c: int(c.removeprefix("choice")))

    def subset_of(cells: Mapping[str, Any]) -> str:
        return clean(cells.get("subject")) or named_by_file

    counted: Counter[str] = Counter()
    place = {}
    for row in table.rows:
        counted[subset_of(row.cells)] += 1
        place[row.number] = counted[subset_of(row.cells)]

    def to_fact(row: Row) -> Fact:
        cells, subset = row.cells, subset_of(row.cells)
        stem = verbatim(cells.get("question"))
        if not stem:
            raise Malformed("empty question")
        given = [cells.get(column) for column in listed] if listed else items(cells.get("choices"), "choices")
        choices = options(given)
        return Fact(
            id=f"{subset}/{place[row.number]}",
            subject=stem,
            relation=subset,
            answers=answers((choices[_right(cells.get("answer"), choices)],)),
            question=stem,
            choices=choices,
        )

    return to_fact


def _right(value: Any, choices: tuple[str, ...]) -> int:
    """Return the index of the right option, given as one or as a letter."""
    told = clean(value)
    if not told:
        raise Malformed("empty answer")
    if re.fullmatch(r"-?\d+(\.0)?", told):
        index = int(float(told))
    elif re.fullmatch(r"[A-Za-z]", told):
        index = ord(told.upper()) - ord("A")
    else:
        raise Malformed(f"the answer {told!r} is neither an option's index nor its letter")
    if not 0 <= index < len(choices):
        raise Malformed(f"the answer {told!r} names none of the {len(choices)} choices")
    return index
