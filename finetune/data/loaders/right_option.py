"""Multiple-choice options of a table, and which one is right: given by its index from 0, letter or own text.

Options stand in a column ``choices``, in ``choice0``, ``choice1``, ..., or in a column a letter: ``A``,
``B``, ... or ``option_a``, ``option_b``, .... An answer such as ``2`` or ``B`` may be an option's place or
its very text, so the table decides:

1. Answers that can be read one way only say which way the table is written.
2. If none says so, answers that are all among their own options are texts.
3. An answer that means two options where the table says neither, or both, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import join_names, quote
from finetune.data.loaders.cells import choices_of_cell, items_of_cell
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed, text_of_scalar, verbatim_text

_OPTION = re.compile(r"choice\d{1,4}")
_LETTERED = re.compile(r"(?:option|choice)[ _-]?([a-z])", re.I)
_BARE = re.compile(r"([a-z])", re.I)
_NUMBERED = re.compile(r"(?:option|choice)[ _-]?\d{1,2}", re.I)
_INDEX = re.compile(r"-?\d{1,9}(\.0)?")
OptionsOf = Callable[[Mapping[str, Any]], list[Any]]


def option_columns(columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns that hold an option each, in their order, if there are such."""
    numbered = sorted(filter(_OPTION.fullmatch, columns), key=lambda c: int(c.removeprefix("choice")))
    if numbered:
        return tuple(numbered)
    return _lettered(columns, _LETTERED) or _lettered(columns, _BARE)


def holds_options(table: Table) -> bool:
    """Whether a table of questions and answers has options.

    Columns that are called A, B, ... are options only where at least half of the answers name one of them.

    Raises:
        InputError: columns such as ``option1`` are options, but say not from what they count.
    """
    if "choices" in table.columns or "choice0" in table.columns:
        return True
    found = option_columns(table.columns)
    if found and not _BARE.fullmatch(found[0]):
        return True
    if found:
        return _half_named(table, found)
    numbered = [column for column in table.columns if _NUMBERED.fullmatch(column)]
    if len(numbered) > 1 and "choice0" not in table.columns and _half_named(table, numbered, texts=False):
        raise InputError(
            f"{table.name}: {join_names(numbered)} look like options; call them choice0, choice1, ... and "
            "write each answer as a letter (A, B, ...) or as the option's text"
        )
    return False


def options_reader(table: Table) -> OptionsOf:
    """Return what reads the options of a row's cells, as they are written."""
    columns = () if "choices" in table.columns else option_columns(table.columns)

    def options_of(cells: Mapping[str, Any]) -> list[Any]:
        if columns:
            return [cells.get(column) for column in columns]
        return items_of_cell(cells.get("choices"), "choices")

    return options_of


def right_option_reader(table: Table) -> Callable[[Mapping[str, Any], tuple[str, ...]], int | None]:
    """Return what finds the place of the right option of a row, None where the answer names none.

    Raises:
        InputError: the answers count the options from 1, or an answer means two options and the table does
            not say which.
    """
    options_of = options_reader(table)
    by_place = _are_places(table, options_of)
    if by_place is not False:
        _require_from_zero(table, options_of)

    def right_option(cells: Mapping[str, Any], choices: tuple[str, ...]) -> int | None:
        text, place = _readings(cells.get("answer"), choices)
        first, second = (place, text) if by_place else (text, place)
        # In a table of one kind the other reading of an answer is a mistake, not an answer.
        return second if first is None and by_place is None else first

    return right_option


def _lettered(columns: Collection[str], pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Return columns called by letters, if they begin with A and leave none out."""
    found = {match[1].casefold(): name for name in columns if (match := pattern.fullmatch(name.strip()))}
    letters = sorted(found)
    whole = len(letters) > 1 and letters == [chr(ord("a") + i) for i in range(len(letters))]
    return tuple(found[letter] for letter in letters) if whole else ()


def _half_named(table: Table, columns: Collection[str], *, texts: bool = True) -> bool:
    """Whether at least half of the answers name an option in ``columns``; ``texts``: by its text too."""
    named = answered = 0
    for row in table.rows:
        value = row.cells.get("answer")
        if isinstance(value, str | int) and str(value).strip():
            answered += 1
            options = [str(row.cells.get(column) or "").strip() for column in columns]
            told = str(value).strip()
            letter = bool(re.fullmatch(r"[A-Za-z]", told)) and ord(told.upper()) - ord("A") < len(options)
            number = not texts and told.isdecimal() and int(told) <= len(options)
            named += letter or number or (texts and told in options)
    return 0 < answered <= 2 * named


def _are_places(table: Table, options_of: OptionsOf) -> bool | None:
    """Whether all answers of a table are indices or letters; False: options' texts; None: some of either."""
    # The original release has no header, so that its first row stands in line 1; its answers are letters.
    if table.rows and table.rows[0].line == 1 and table.name.lower().endswith(".csv"):
        return True
    texts = places = 0
    unclear: Row | None = None
    typed = False
    for row in table.rows:
        try:
            given = options_of(row.cells)
            text, place = _readings(row.cells.get("answer"), choices_of_cell(given))
        except Malformed:  # which the row's own reading says
            continue
        if text is None or place is None:
            texts, places = texts + (text is not None), places + (place is not None)
        elif text != place:
            unclear = unclear or row
            # A number beside a list of texts is the hub's index as likely as a text.
            typed |= not isinstance(row.cells["answer"], str) and all(isinstance(x, str) for x in given)
    if unclear is not None and ((texts and places) or (typed and not texts and not places)):
        answer = quote(unclear.cells["answer"])
        raise InputError(
            f"{unclear.where}: the answer {answer} is the text of one option and the index or letter of "
            "another; write letters, or the option's text, in every row"
        )
    if texts and places:
        return None
    return not texts and (places > 0 or unclear is None)


def _readings(value: Any, choices: tuple[str, ...]) -> tuple[int | None, int | None]:
    """Return the option that has an answer's text, and the one that it is the index or letter of."""
    told = text_of_scalar(value)
    written = verbatim_text(value) if isinstance(value, str) else told
    text = next((choices.index(each) for each in (written, told) if each in choices), None)
    if _INDEX.fullmatch(told):
        place = int(told.removesuffix(".0"))
    elif re.fullmatch(r"[A-Za-z]", told):
        place = ord(told.upper()) - ord("A")
    else:
        return text, None
    return text, place if 0 <= place < len(choices) else None


def _require_from_zero(table: Table, options_of: OptionsOf) -> None:
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
            last += index == _count(options_of(row.cells))
        except Malformed:  # which the row's own reading says
            continue
    if last:
        raise InputError(
            f"{table.name}: the column 'answer' counts the choices from 1 (no row says 0, and {last:,} say "
            "how many choices there are); subtract 1 from every answer, or write letters (A, B, ...)"
        )


def _count(choices: list[Any]) -> int:
    """Count the choices that a row writes, readable or not; empty ones at the end are none."""
    written = [choice not in (None, "") and str(choice).strip() not in ("", "nan") for choice in choices]
    return max((i + 1 for i, there in enumerate(written) if there), default=0)
