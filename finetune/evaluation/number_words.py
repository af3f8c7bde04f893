"""Numbers in answers as they are compared: digits for words, one order for a date, one number for a numeral.

Numbers in words are read by text2num ("twenty-one", "two hundred", "nineteenth").
"""

from __future__ import annotations

import re
from decimal import Decimal

from text_to_num import alpha2digit

_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(rf"(?<![\d.,])(\d+(?:\.\d+)?)[\s-]+({'|'.join(_MAGNITUDES)})\b", re.I)
_POWER = re.compile(r"(?<=\d)([⁰¹²³⁴-⁹]+)")
_GROUPED = re.compile(
    r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)|(?<!\d)\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\d)"
)
# A minus belongs to its number, and to a grade or a blood type that ends there.
_MINUS = re.compile(r"(?:(?<=^)|(?<=[\s(]))-(?=\d)|(?:(?<=\b[A-Z])|(?<=\b[A-Z]{3}))-(?=[\s.,;)]*$)")
_UNIT = re.compile(
    r"(?<=\d)(?=(?:[kcm]m|[km]g|m[Ll]|[KMGT]B|[kMG]?Hz|kWh?|ms|min|mi|ft|lbs?|oz|mph|km/h|bn)(?![^\W_]))"
)
_MONTHS = "January February March April May June July August September October November December".split()
_MONTH = rf"\b({'|'.join(_MONTHS)}|(?:{'|'.join(name[:3] for name in _MONTHS)})t?\.?)(?![^\W_])"
_DAY = r"(?<![\d.,:/-])(\d{1,2})(?:st|nd|rd|th)?(?![\d.,:/-]*\d)(?![^\W_])"
_DAY_FIRST, _DAY_LAST = re.compile(rf"{_DAY}(?: of)? {_MONTH}"), re.compile(rf"{_MONTH} {_DAY}")
_NUMERALS = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX".split()
_PLACE = re.compile(r"(\d+)(?:st|nd|rd|th)?")


def with_powers(text: str) -> str:
    """Mark exponents, which Unicode's compatible form would make digits of the number in front of them."""
    return _POWER.sub(r"^\1", text)


def without_groups(text: str) -> str:
    """Write numbers without separators of thousands."""
    return _GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), text)


def with_digits(text: str) -> str:
    """Write numbers and dates of a text in one way: 5 million is 5000000, the 4th of July is July 4."""
    scaled = _SCALED.sub(lambda found: _times(found[1], _MAGNITUDES[found[2].lower()]), text)
    digits = _UNIT.sub(" ", alpha2digit(scaled, "en", 0))
    dated = _DAY_LAST.sub(lambda found: _date(found[1], found[2]), digits)
    return _MINUS.sub("\u2212", _DAY_FIRST.sub(lambda found: _date(found[2], found[1]), dated))


def of_numeral(word: str) -> str | None:
    """Return a Roman numeral as an ordinal; None for other words, and for one letter, which is an initial."""
    if len(word) < 2 or word not in _NUMERALS:
        return None
    number = _NUMERALS.index(word) + 1
    return f"{number}{'th' if number > 3 else ('nd', 'rd')[number - 2]}"


def is_same_place(one: str, two: str) -> bool:
    """Whether two words behind a name number it alike: "2nd" and "2", "i" and "1"."""
    first, second = (_PLACE.fullmatch("1" if word == "i" else word) for word in (one, two))
    return first is not None and second is not None and first[1] == second[1]


def _times(number: str, power: int) -> str:
    return f"{Decimal(number).scaleb(power):f}"


def _date(month: str, day: str) -> str:
    return f"{next(name for name in _MONTHS if name[:3] == month[:3])} {int(day)}"
