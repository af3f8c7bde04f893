"""One scalar of a table as text: how it is cleaned, and when it is missing or malformed."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from finetune.common.messages import printable, quote

_HALF = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")  # none of them white space
# As programs write what is missing, and a sheet's errors; "NA" is none of them, for it is Namibia's code.
MISSING = frozenset(
    "nan NaN None NONE null NULL <NA> NaT N/A n/a #N/A #REF! #VALUE! #DIV/0! #NAME? #NUM! #NULL!".split()
)
# Marks that show nothing and that no script's spelling needs: soft hyphens, spaces without width, marks of
# direction. Joiners stay, which join letters and parts of symbols.
_UNSEEN = dict.fromkeys(
    map(ord, "\u00ad\u200b\u2060\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)
# Letters and symbols by category that show nothing: fillers, a blank Braille cell.
_FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_EXACT = 2.0**53  # beyond, not every whole number is a float


class Malformed(ValueError):
    """Why one row is set aside, in one short printable line."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason, 160))


def clean(value: Any) -> str:
    """Return a scalar as text in NFC with single spaces; nothing is the empty string."""
    return _collapse_spaces(to_nfc(value))


def text_of_scalar(value: Any) -> str:
    """Return a cell as text in NFC with single spaces; missing is the empty string."""
    if type(value) is str and _is_plain(value) and value not in MISSING:
        return value
    text = _collapse_spaces(_to_printable_nfc(value))
    return text if text not in MISSING and is_visible(text) else ""


def verbatim_text(value: Any) -> str:
    """Return a cell as text in NFC with its lines and spaces, but none around it."""
    text = _to_printable_nfc(value).replace("\r\n", "\n").strip()
    return text if is_visible(text) else ""


def is_visible(text: str) -> bool:
    """Whether anything of a text can be seen: zero-width, control and lone combining characters cannot."""
    first = text[:1]
    return (first.isascii() and first.isalnum()) or any(_shows(character) for character in text)


def to_nfc(value: Any) -> str:
    """Return a scalar as text in NFC, which holds no half of a character and no unseen mark."""
    text = value if isinstance(value, str) else _as_text(value)
    if text.isascii():
        return text
    if _HALF.search(text):
        half = printable(ascii(text.strip()), 60)
        raise Malformed(f"{half} holds half of a character; write the file as UTF-8")
    return unicodedata.normalize("NFC", text.translate(_UNSEEN))


def _shows(character: str) -> bool:
    category = unicodedata.category(character)
    return category == "Co" or (category[0] in "LNPS" and character not in _FILLERS)


def _to_printable_nfc(value: Any) -> str:
    """Return a scalar as text in NFC, which holds no control character either."""
    text = to_nfc(value)
    if not text.isprintable() and _CONTROL.search(text):
        raise Malformed(f"{quote(text)} holds a control character; remove it")
    return text


def _is_plain(text: str) -> bool:
    """Tell quickly, of a million texts, that one is visible ASCII with single spaces, none around it."""
    return (
        text[:1].isalnum() and text.isascii() and text.isprintable() and text[-1] != " " and "  " not in text
    )


def _collapse_spaces(text: str) -> str:
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
    raise Malformed(f"holds {type_name(value)}, not text")


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


def type_name(value: Any) -> str:
    """Name what a value is that is no text."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int):
        return "a number of over a thousand digits"
    return "a list" if isinstance(value, list | tuple | str) else f"a {type(value).__name__}"
