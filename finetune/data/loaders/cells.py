"""Cell values of a table: text, a number, a list of texts, or nothing that can be used.

Nothing becomes its Python or JSON source text: an object, a list inside a list, true and false, or bytes that
are no UTF-8 are malformed. Missing is None, NaN, a word that programs write for those (``nan``, ``None``,
``NULL``, ``N/A``), and text in which nothing is visible.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from finetune.common.messages import quote
from finetune.data.loaders.lists_in_text import MALFORMED_LIST, parse_list
from finetune.data.loaders.scalars import MISSING, Malformed, text_of_scalar, type_name, verbatim_text

_WHOLE = re.compile(r"-?\d{3,}\.0")  # a year or a count from a column of floats; versions are shorter
_FLOAT = re.compile(r"-?\d+\.0")
_SQUAD = frozenset({"text", "answer_start", "answer_end"})


def text(value: Any, column: str, *, whole: bool = False) -> str:
    """Return a cell that must hold text, one thing's name or a sentence.

    ``whole`` says that its column is one of whole numbers that were written as floats.
    """
    if isinstance(value, list | tuple | dict) or (
        isinstance(value, str) and value[:2] in ("['", '["') and isinstance(parse_list(value), list)
    ):
        raise Malformed(f"{column} holds {type_name(value)}, not text")
    cleaned = _name_of_cell(value, column, whole=whole)
    if not cleaned:
        raise Malformed(f"empty {column}")
    return cleaned


def texts_of_cell(value: Any, column: str, *, whole: bool = False) -> tuple[str, ...]:
    """Return a cell's texts, empty and repeated ones dropped; see :func:`items_of_cell`."""
    return distinct(_name_of_cell(item, column, whole=whole) for item in items_of_cell(value, column))


def answers_of_single_column(value: Any, column: str, *, whole: bool = False) -> tuple[str, ...]:
    """Return the answers of a column that is meant for one: its text is not taken apart at ``|``."""
    if isinstance(value, str):
        found = parse_list(value)
        if found is None:
            return distinct([_name_of_cell(value, column, whole=whole)])
        if found is MALFORMED_LIST:
            raise Malformed(f"{column} is not a list ({quote(value, 30)})")
        value = found
    return texts_of_cell(value, column, whole=whole)


def items_of_cell(value: Any, column: str) -> list[Any]:
    """Return what a cell lists: a list, a list written as text, or texts separated by ``|``.

    A list as text is one of JSON, of Python (as pandas writes it), or of numpy. SQuAD's ``{"text": [...],
    "answer_start": [...]}`` is its texts.
    """
    if isinstance(value, bytes):
        value = text_of_scalar(value)
    if isinstance(value, str):
        found = parse_list(value, strict=True)
        if found is None:
            return list(value.split("|"))
        if found is MALFORMED_LIST:
            raise Malformed(f"{column} is not a JSON list ({quote(value, 30)})")
        value = found
    if hasattr(value, "tolist") and not isinstance(value, list | tuple):
        value = value.tolist()  # an array of numpy, or one of its numbers
    if isinstance(value, dict):
        value = _of_squad(value, column)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        return [value]
    given = [_of_squad(item, column) if isinstance(item, dict) else item for item in value]
    for item in given:
        if isinstance(item, dict | list | tuple):
            raise Malformed(f"{column} holds {type_name(item)} inside a list; give a list of texts")
    return given


def choices_of_cell(given: Sequence[Any]) -> tuple[str, ...]:
    """Return the options of a multiple-choice question; empty ones at the end are none."""
    texts = [verbatim_text(option) for option in given]
    while texts and not texts[-1]:
        texts.pop()
    if len(texts) < 2:
        raise Malformed(f"{len(texts)} choices, where a question needs at least 2")
    if "" in texts:
        raise Malformed(f"choice {texts.index('')} (from 0) is empty")
    if len(set(texts)) < len(texts):
        repeated = next(text for i, text in enumerate(texts) if text in texts[:i])
        raise Malformed(f"the choice {quote(repeated)} occurs twice")
    return tuple(texts)


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Drop empty and repeated texts, keeping the order."""
    return tuple(dict.fromkeys(text for text in texts if text))


def answers_of_cell(found: tuple[str, ...]) -> tuple[str, ...]:
    """Return answers, of which there must be one."""
    if not found:
        raise Malformed("empty answer list")
    return found


def are_whole_numbers(values: Iterable[Any]) -> bool:
    """Whether a column's texts are whole numbers that were written as floats (``3.0``), all of them.

    A number that is no text, or texts in a list, are written as they are meant, and so is all beside them.
    """
    found = False
    for value in values:
        if isinstance(value, str) and _FLOAT.fullmatch(value):
            found = True
        elif isinstance(value, str) and (not value.strip() or value in MISSING):
            continue
        elif not (value is None or (isinstance(value, float) and math.isnan(value))):
            return False
    return found


def _name_of_cell(value: Any, column: str, *, whole: bool) -> str:
    """Return a cell that names something as text, a whole number without a fraction."""
    try:
        text = text_of_scalar(value)
    except Malformed as problem:
        raise Malformed(f"{column} {problem}") from problem
    if text[-2:] == ".0" and (_FLOAT if whole else _WHOLE).fullmatch(text):
        return text[:-2]
    return text


def _of_squad(value: dict[str, Any], column: str) -> Any:
    """Return the texts of an answer in SQuAD's layout; no other object is an answer."""
    if type(value) is not dict or "text" not in value or not value.keys() <= _SQUAD:
        raise Malformed(f"{column} holds an object; give a text or a list of texts")
    return value["text"]
