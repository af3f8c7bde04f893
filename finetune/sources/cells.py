"""What one cell of a table holds: text, a number, a list of texts, or nothing that can be used.

Nothing becomes its Python or JSON source text: an object, a list inside a list, true and false, or bytes that
are no UTF-8 are malformed. Missing is None, NaN, a word that programs write for those (``nan``, ``None``,
``null``), and text in which nothing is visible.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from finetune.messages import printable, shown
from finetune.sources.texts import MALFORMED_LIST, listed_in

_HALF = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # none of them white space
_MISSING = frozenset({"nan", "NaN", "None", "null", "<NA>", "NaT"})  # as programs write what is missing
_WHOLE = re.compile(r"-?\d{3,}\.0")  # a year or a count from a column of floats; versions are shorter
_FLOAT = re.compile(r"-?\d+\.0")
# Letters and symbols by category that show nothing: fillers, a blank Braille cell.
_FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SQUAD = frozenset({"text", "answer_start", "answer_end"})
_EXACT = 2.0**53  # beyond, not every whole number is a float


class Malformed(ValueError):
    """Why one row is set aside, in one short printable line."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason, 160))


def clean(value: Any) -> str:
    """Return a scalar as text in NFC with single spaces; nothing is the empty string."""
    return _spaced(composed(value))


def content(value: Any) -> str:
    """Return a cell as text in NFC with single spaces; missing is the empty string."""
    if type(value) is str and _is_plain(value) and value not in _MISSING:
        return value
    text = _spaced(_composed(value))
    return text if text not in _MISSING and is_visible(text) else ""


def verbatim(value: Any) -> str:
    """Return a cell as text in NFC with its lines and spaces, but none around it."""
    text = _composed(value).replace("\r\n", "\n").strip()
    return text if is_visible(text) else ""


def text(value: Any, column: str, *, whole: bool = False) -> str:
    """Return a cell that must hold text, one thing's name or a sentence.

    ``whole`` says that its column is one of whole numbers that were written as floats.
    """
    if isinstance(value, list | tuple | dict) or (
        isinstance(value, str) and value[:2] in ("['", '["') and isinstance(listed_in(value), list)
    ):
        raise Malformed(f"{column} holds {_kind(value)}, not text")
    cleaned = _named(value, column, whole=whole)
    if not cleaned:
        raise Malformed(f"empty {column}")
    return cleaned


def number(value: Any, column: str) -> float:
    """Return a cell that must hold a finite number of at least zero."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Malformed(f"{column} (popularity) is missing")
    if isinstance(value, bytes):
        value = content(value)
    is_number = type(value).__name__ not in ("bool", "bool_") and not (
        isinstance(value, str) and "_" in value
    )
    try:
        found = float(value) if is_number else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise Malformed(f"{column} (popularity) {shown(value, 30)} is not a number")
    if found < 0:
        raise Malformed(f"{column} (popularity) {shown(value, 30).strip(chr(39))} is negative")
    return found


def several(value: Any, column: str, *, whole: bool = False) -> tuple[str, ...]:
    """Return a cell's texts, empty and repeated ones dropped; see :func:`items`."""
    return distinct(_named(item, column, whole=whole) for item in items(value, column))


def one_or_several(value: Any, column: str, *, whole: bool = False) -> tuple[str, ...]:
    """Return the answers of a column that is meant for one: its text is not taken apart at ``|``."""
    if isinstance(value, str):
        found = listed_in(value)
        if found is None:
            return distinct([_named(value, column, whole=whole)])
        if found is MALFORMED_LIST:
            raise Malformed(f"{column} is not a list ({shown(value, 30)})")
        value = found
    return several(value, column, whole=whole)


def items(value: Any, column: str) -> list[Any]:
    """Return what a cell lists: a list, a list written as text, or texts separated by ``|``.

    A list as text is one of JSON, of Python (as pandas writes it), or of numpy. SQuAD's ``{"text": [...],
    "answer_start": [...]}`` is its texts.
    """
    if isinstance(value, bytes):
        value = _composed(value)
    if isinstance(value, str):
        found = listed_in(value, strict=True)
        if found is None:
            return list(value.split("|"))
        if found is MALFORMED_LIST:
            raise Malformed(f"{column} is not a JSON list ({shown(value, 30)})")
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
            raise Malformed(f"{column} holds {_kind(item)} inside a list; give a list of texts")
    return given


def options(given: Sequence[Any]) -> tuple[str, ...]:
    """Return the options of a multiple-choice question; empty ones at the end are none."""
    texts = [verbatim(option) for option in given]
    while texts and not texts[-1]:
        texts.pop()
    if len(texts) < 2:
        raise Malformed(f"{len(texts)} choices, where a question needs at least 2")
    if "" in texts:
        raise Malformed(f"choice {texts.index('')} (from 0) is empty")
    if len(set(texts)) < len(texts):
        repeated = next(text for i, text in enumerate(texts) if text in texts[:i])
        raise Malformed(f"the choice {shown(repeated)} occurs twice")
    return tuple(texts)


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Drop empty and repeated texts, keeping the order."""
    return tuple(dict.fromkeys(text for text in texts if text))


def answers(found: tuple[str, ...]) -> tuple[str, ...]:
    """Return answers, of which there must be one."""
    if not found:
        raise Malformed("empty answer list")
    return found


def is_whole(values: Iterable[Any]) -> bool:
    """Whether a column's texts are whole numbers that were written as floats (``3.0``), all of them."""
    found = False
    for value in values:
        if isinstance(value, str) and not _FLOAT.fullmatch(value):
            if value.strip() and value not in _MISSING:
                return False
        else:
            found = True
    return found


def is_visible(text: str) -> bool:
    """Whether anything of a text can be seen: zero-width, control and lone combining characters cannot."""
    first = text[:1]
    return (first.isascii() and first.isalnum()) or any(_shows(character) for character in text)


def _shows(character: str) -> bool:
    category = unicodedata.category(character)
    return category == "Co" or (category[0] in "LNPS" and character not in _FILLERS)


def _named(value: Any, column: str, *, whole: bool) -> str:
    """Return a cell that names something as text, a whole number without a fraction."""
    try:
        text = content(value)
    except Malformed as problem:
        raise Malformed(f"{column} {problem}") from problem
    if text[-2:] == ".0" and (_FLOAT if whole else _WHOLE).fullmatch(text):
        return text[:-2]
    return text


def composed(value: Any) -> str:
    """Return a scalar as text in NFC, which holds no half of a character."""
    text = value if isinstance(value, str) else _as_text(value)
    if text.isascii():
        return text
    if _HALF.search(text):
        half = printable(ascii(text.strip()), 60)
        raise Malformed(f"{half} holds half of a character; write the file as UTF-8")
    return unicodedata.normalize("NFC", text)


def _composed(value: Any) -> str:
    """Return a scalar as text in NFC, which holds no control character either."""
    text = composed(value)
    if not text.isprintable() and _CONTROL.search(text):
        raise Malformed(f"{shown(text)} holds a control character; remove it")
    return text


def _is_plain(text: str) -> bool:
    """Tell quickly, of a million texts, that one is visible ASCII with single spaces, none around it."""
    return (
        text[:1].isalnum() and text.isascii() and text.isprintable() and text[-1] != " " and "  " not in text
    )


def _spaced(text: str) -> str:
    if text.isprintable() and "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.split())


def _as_text(value: Any) -> str:
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()  # a number of numpy
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, bool):
        raise Malformed(f"holds {str(value).lower()}, which is no text; write the word in quotes")
    if isinstance(value, float | Decimal):
        return _plain_number(value)
    if isinstance(value, int) and value.bit_length() < 4000:
        return str(value)
    if isinstance(value, date) and (not isinstance(value, datetime) or value.time() == time()):
        return value.strftime("%Y-%m-%d") if value.year > 999 else value.isoformat()[:10]
    if isinstance(value, datetime | time):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, bytes | bytearray):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed("holds bytes that are no UTF-8; write it as text") from error
    raise Malformed(f"holds {_kind(value)}, not text")


def _plain_number(value: float | Decimal) -> str:
    """Write a number as people do: no fraction of zero, no exponent; one that is none is missing."""
    exact = Decimal(repr(float(value))) if isinstance(value, float) else value
    if exact.is_nan():
        return ""
    if exact.is_infinite() or (isinstance(value, float) and abs(value) >= _EXACT):
        raise Malformed(f"holds the number {value:g}, too large to be exact; write it as text")
    if abs(exact.adjusted()) > 400:
        raise Malformed("holds a number of over 400 digits; write it as text")
    plain = f"{exact:f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain == "-0" else plain


def _of_squad(value: dict[str, Any], column: str) -> Any:
    """Return the texts of an answer in SQuAD's layout; no other object is an answer."""
    if type(value) is not dict or "text" not in value or not value.keys() <= _SQUAD:
        raise Malformed(f"{column} holds an object; give a text or a list of texts")
    return value["text"]


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int):
        return "a number of over a thousand digits"
    return "a list" if isinstance(value, list | tuple | str) else f"a {type(value).__name__}"
