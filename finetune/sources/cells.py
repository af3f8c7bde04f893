"""What one cell must hold, with the reason when it does not."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_HALF = re.compile(r"[\ud800-\udfff]")


class Malformed(ValueError):
    """Why one row is set aside."""


def clean(value: Any) -> str:
    """Return a cell as text in NFC with single spaces; missing is the empty string."""
    return " ".join(_composed(value).split())


def verbatim(value: Any) -> str:
    """Return a cell as text in NFC with its lines and spaces, but none around it."""
    return _composed(value).replace("\r\n", "\n").strip()


def text(value: Any, column: str) -> str:
    """Return a cell that must hold text."""
    cleaned = clean(value)
    if not cleaned:
        raise Malformed(f"empty {column}")
    return cleaned


def number(value: Any, column: str) -> float:
    """Return a cell that must hold a finite number of at least zero."""
    if value is None or clean(value) == "":
        raise Malformed(f"{column} (popularity) is missing")
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise Malformed(f"{column} (popularity) {clean(value)!r} is not a number")
    if found < 0:
        raise Malformed(f"{column} (popularity) {clean(value)} is negative")
    return found


def several(value: Any, column: str) -> tuple[str, ...]:
    """Return a cell's texts, empty and repeated ones dropped; see :func:`items`."""
    return distinct(clean(item) for item in items(value, column))


def items(value: Any, column: str) -> list[Any]:
    """Return what a cell lists: a list, a JSON list as text, or texts separated by ``|``."""
    if isinstance(value, str):
        return _json_list(value, column) if value.lstrip().startswith("[") else value.split("|")
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def options(given: Sequence[Any]) -> tuple[str, ...]:
    """Return the options of a multiple-choice question; empty ones at the end are none."""
    texts = [verbatim(option) for option in given]
    while texts and not texts[-1]:
        texts.pop()
    if len(texts) < 2:
        raise Malformed(f"{len(texts)} choices, where a question needs at least 2")
    if "" in texts:
        raise Malformed(f"choice {texts.index('')} (from 0) is empty")
    if repeated := next((text for text in texts if texts.count(text) > 1), None):
        raise Malformed(f"the choice {repeated!r} occurs twice")
    return tuple(texts)


def distinct(texts: Any) -> tuple[str, ...]:
    """Drop empty and repeated texts, keeping the order."""
    return tuple(dict.fromkeys(text for text in texts if text))


def answers(found: tuple[str, ...]) -> tuple[str, ...]:
    """Return answers, of which there must be one."""
    if not found:
        raise Malformed("empty answer list")
    return found


def _json_list(value: str, column: str) -> list[Any]:
    try:
        found = json.loads(value)
    except json.JSONDecodeError as error:
        raise Malformed(f"{column} is not a JSON list ({error.msg})") from error
    if not isinstance(found, list):
        raise Malformed(f"{column} is not a JSON list")
    return found


def _composed(value: Any) -> str:
    composed = "" if value is None else unicodedata.normalize("NFC", str(value))
    if not composed.isascii() and _HALF.search(composed):
        raise Malformed(f"{composed.strip()!a} holds half of a character; write the file as UTF-8")
    return composed
