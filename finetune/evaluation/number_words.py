"""Numbers in answers as they are compared: digits for words, one order for a date, one number for a numeral.

Numbers in words are read by text2num ("twenty-one", "two hundred", "nineteenth"), but not where they are no
number of their own: "two thirds", "half a million", "no one".
"""

from __future__ import annotations

import re
import unicodedata
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
# Shares and temperatures, in words and in signs, are told from bare numbers.
_PERCENT = re.compile(r"(?<=\d)(?:\s*%|[\s-]*(?:per[ -]?cent|pct\.?)(?![^\W_]))", re.I)
_SCALE = r"(?:\s*(?:(c)(?:el[sc]ius|entigrade)?|(f)(?:ahrenheit)?)(?![^\W_]))"
_DEGREES = re.compile(rf"(?<=\d)[\s-]*(?:degrees?(?![^\W_]){_SCALE}?|°{_SCALE}?)", re.I)
_ONE = re.compile(r"\bone(?=[ -](?:per[ -]?cent|degree)\b)", re.I)
# "3½", "3 1/2" and "3-1/2" are 3.5; a third has no decimal that ends.
_MIXED = re.compile(
    r"(?<![\d.,/])(?:(?:(\d{1,3})[ -])?(1/2|[13]/4|[1357]/8)(?![\d/])"
    r"|(?:(\d{1,12})|(\d{1,3})[ \u202f])?([½¼¾⅛⅜⅝⅞])|(\d+)(?=[⅐-⅚]))"
)
MONTHS = "January February March April May June July August September October November December".split()
_MONTH = rf"\b({'|'.join(MONTHS)}|Sept\.?|(?:{'|'.join(name[:3] for name in MONTHS)})\.?)(?![^\W_])"
_DAY = r"(?<![\d.,:/-])(\d{1,2})(?:st|nd|rd|th)?(?![\d.,:/-]*\d)(?![^\W_])"
_DAY_FIRST, _DAY_LAST = re.compile(rf"{_DAY}(?: of)? {_MONTH}"), re.compile(rf"(?<!\d ){_MONTH} {_DAY}")
_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_UNITS = "one|two|three|four|five|six|seven|eight|nine"
_ORDINALS = (
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|"
    "fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth|fortieth|fiftieth|sixtieth|"
    "seventieth|eightieth|ninetieth|hundredth|thousandth|millionth"
)
_WORD = rf"(?:zero|{_UNITS}|{_TEENS}|{_TENS}|{'|'.join(_MAGNITUDES)}|{_ORDINALS})"
# A fraction, or a dozen, is another number.
_RUN = re.compile(
    rf"\b(?:zero|{_UNITS}|{_TEENS}|{_TENS}|{_ORDINALS})"
    rf"(?:(?:[ -]|(?<=hundred) and |(?<=thousand) and ){_WORD})*\b"
    r"(?! (?:and an? (?:half|quarter|third)|thirds?|quarters?|halves|half|fifths|tenths|dozen)\b)",
    re.I,
)
_YEAR = re.compile(rf"({_TEENS}|twenty)[ -]((?:{_TENS})(?:[ -](?:{_UNITS}))?|{_TEENS})", re.I)
_NAMED = re.compile(r"\b(?!(?:No|Some|Any|Every|Each|The|This|That)\b)[^\W\d_]+ $")  # in front of "One"
_SIGN = re.compile(r"\b(?:minus|negative) (?=\d)", re.I)
_BELOW_TEN = " I II III IV V VI VII VIII IX".split(" ")
_NUMERALS = ["X" * tens + units for tens in range(4) for units in _BELOW_TEN]  # I to XXXIX
_PLACE = re.compile(r"(\d+)(?:st|nd|rd|th)?")


def with_powers(text: str) -> str:
    """Mark exponents, which Unicode's compatible form would make digits of the number in front of them."""
    return _POWER.sub(r"^\1", text)


def without_groups(text: str) -> str:
    """Write numbers without separators of thousands."""
    return _GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), text)


def with_decimals(text: str) -> str:
    """Write mixed numbers as decimals: "3½" as 3.5."""
    return _MIXED.sub(_in_decimals, text)


def _in_decimals(found: re.Match[str]) -> str:
    beside, part, before, apart, sign, third = found.groups()
    if third:
        return f"{third} "
    above, below = part.split("/") if part else (str(unicodedata.numeric(sign)), "1")
    return f"{int(beside or before or apart or 0) + Decimal(above) / Decimal(below)}"


def with_digits(text: str) -> str:
    """Write numbers and dates of a text in one way: 5 million is 5000000, July 4th is 4 July."""
    digits = _RUN.sub(_in_digits, _ONE.sub("1", text))
    scaled = _SCALED.sub(lambda found: _times(found[1], _MAGNITUDES[found[2].lower()]), digits)
    shared = _DEGREES.sub(_in_degrees, _PERCENT.sub(" percent ", scaled))
    signed = _SIGN.sub("-", _UNIT.sub(" ", shared))
    dated = _DAY_FIRST.sub(lambda found: _date(found[1], found[2]), signed)
    return _MINUS.sub("\u2212", _DAY_LAST.sub(lambda found: _date(found[2], found[1]), dated))


def _in_degrees(found: re.Match[str]) -> str:
    scale = next(filter(None, found.groups()), "")
    return f" {scale.lower()} degree "


def _in_digits(found: re.Match[str]) -> str:
    """Write a run of number words in digits; several numbers, and "one" that may be a pronoun, stay words."""
    words, before = found[0].replace("-", " "), found.string[max(0, found.start() - 24) : found.start()]
    if words.lower() == "one":
        named = words[0].isupper() and _NAMED.search(before) and before.split()[-1][:1].isupper()
        alone = len(found.string) < 24 and found.string.strip(" \n.,;:!?\"'()").lower() == "one"
        return "1" if named or alone else found[0]
    if year := _YEAR.fullmatch(found[0]):
        first, second = (alpha2digit(part.replace("-", " "), "en", 0) for part in year.groups())
        return f"{first}{second}"
    written = alpha2digit(words, "en", 0)
    return found[0] if " " in written else written


def of_numeral(word: str) -> str | None:
    """Return a Roman numeral as an ordinal; None for other words, and for one letter, which is an initial."""
    if len(word) < 2 or word not in _NUMERALS:
        return None
    number = _NUMERALS.index(word)
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def is_same_place(one: str, two: str) -> bool:
    """Whether two words behind a name number it alike: "2nd" and "2", "i" and "1"."""
    first, second = (_PLACE.fullmatch("1" if word == "i" else word) for word in (one, two))
    return first is not None and second is not None and first[1] == second[1]


def _times(number: str, power: int) -> str:
    return f"{Decimal(number).scaleb(power):f}"


def _date(day: str, month: str) -> str:
    return f"{int(day)} {next(name for name in MONTHS if name[:3] == month[:3])}"
