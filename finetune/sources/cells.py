"""What one cell must hold, with the reason when it does not."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any


class Malformed(ValueError):
    """Why one row is set aside."""


def clean(value: Any) -> str:
    """Return a cell as text in NFC with single spaces; missing is the empty string."""
    cleaned = "" if value is None else " ".join(unicodedata.normalize("NFC", str(value)).split())
    if not cleaned.isascii() and any("\ud800" <= character <= "\udfff" for character in cleaned):
        raise Malformed(f"{cleaned!a} holds half of a character; write the file as UTF-8")
    return cleaned


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
    """Return a cell's texts: a list, a JSON list as text, or texts separated by ``|``."""
    if isinstance(value, str):
        value = _json_list(value, column) if value.lstrip().startswith("[") else value.split("|")
    elif value is not None and not isinstance(value, (list, tuple)):
        value = [value]
    return distinct(clean(item) for item in value or ())


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
