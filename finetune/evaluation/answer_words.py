"""Words of an answer as they are compared, and how many of them only lead up to it.

A word is folded (Unicode, accents, case, ordinals, "St." in front of a name, commas in numbers); it keeps
whether it began in upper case, what stood in front of it, and whether a hyphen or an apostrophe joined it to
the word before. Signs that tell answers apart belong to their word ("A+", "C#", "-40").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetune.evaluation.number_words import (
    MONTHS,
    is_same_place,
    of_numeral,
    with_decimals,
    with_digits,
    with_powers,
    without_groups,
)

LONGEST_LEAD, LONGEST_LEAD_AFTER_SUBJECT = 8, 12  # words in front of an answer

_LEAD = frozenset(
    "a an the it its this these those he she they there here in at on by from to of as for with i my we our "
    "his her their is was are were so one answer answers final correct right response solution assistant "
    "sure yes well certainly okay ok question q s that based located situated written made produced "
    "owned".split()
)
_POINTS = frozenset("north south east west northern southern eastern western central".split())
_DATED = frozenset(month.lower() for month in MONTHS)
_ENDS = frozenset(
    "not never no none neither nor unlike except instead but cannot unknown either both between "
    "combination mix mixture that which who whom whose where when because while although though "
    "however if".split()
)
# A point of the compass in front of these makes another place, which is no part of the shorter one.
_OTHER_PLACES = frozenset(
    tuple(name.split())
    for name in (
        "south sudan,south africa,south korea,north korea,north macedonia,northern ireland,west virginia,"
        "western sahara,western samoa,east timor,south georgia,south ossetia"
    ).split(",")
)
_SHORT = {"st": "saint", "mt": "mount", "ft": "fort"}
_TITLES = frozenset("st dr mr mrs ms jr sr prof no mt ft vs saint mount fort c ca approx est".split())
_LABEL = re.compile(r"[\W_]*(?:a|answer|the answer|the answer is|final answer|response)?\s*[\W_]*", re.I)
_INITIALS = re.compile(r"(?<![^\W_])([^\W\d_a-z])\.\s?(?=[^\W\d_a-z](?:\.|$))")
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_SUFFIXES = frozenset(("s", "t", "ll", "re", "ve", "d", "m"))
_SIGNS = "+#\u2212"
# Letters that Unicode does not take apart.
_WHOLE = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "æ": "ae", "œ": "oe"})
_SAME = str.maketrans({**dict.fromkeys("’‘ʻʼʽ`´′", "'"), **dict.fromkeys("‐‑‒–—−", "-"), "_": " ", "*": " "})
# Scripts that put no space between words: every character is one.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Word:
    """One word: folded, with how its first letter and all of it were written, and what stood in front."""

    text: str
    upper: bool
    capitals: bool
    before: str
    joined: bool


def fold(text: str) -> str:
    """Fold Unicode forms, Latin accents and case; keep words apart as they were."""
    plain = unicodedata.normalize("NFKD", text.translate(_SAME))
    plain = "".join(c for c in plain if not "\u0300" <= c <= "\u036f")
    return unicodedata.normalize("NFC", plain).casefold().translate(_WHOLE)


def words_of(text: str) -> list[Word]:
    """Split a text into folded words; initials stand together ("J. K. Rowling", "J.K. Rowling")."""
    found: list[Word] = []
    for raw, before in _split(_INITIALS.sub(r"\1", _plain(text))):
        joined = bool(found) and (
            before in ("-", "'") or (before in (*",.:/^",) and raw.isdigit() and _digit(found))
        )
        folded = of_numeral(raw) if found else None
        found.append(Word(folded or fold(raw), raw[:1].isupper(), raw.isupper(), before, joined))
    found = [_in_full(found, i) for i in range(len(found))]
    return [word for i, word in enumerate(found) if not _is_article_of_ordinal(found, i)]


def _plain(text: str) -> str:
    """Write a text in the one way in which it is split: no invisible characters, numbers without commas."""
    text = with_decimals(with_powers(without_groups(_INVISIBLE.sub("", text))))
    return with_digits(unicodedata.normalize("NFKC", text).translate(_SAME).replace("&", " and "))


def _in_full(words: Sequence[Word], i: int) -> Word:
    """Write out "St.", "Mt." and "Ft." in front of a name."""
    word = words[i]
    if word.text not in _SHORT or not word.upper or i + 1 == len(words):
        return word
    named = words[i + 1].upper and words[i + 1].before in (" ", ".", ". ")
    return replace(word, text=_SHORT[word.text]) if named else word


def compound(words: Sequence[Word], *, possessive: bool = False) -> tuple[Word, ...]:
    """Write as one what a hyphen or an apostrophe joins: "N'Djamena" as "ndjamena", "COVID-19" as "covid19".

    What is no part of a name stays apart: "isn't", one number behind another, and "Kenya's", but for a
    ``possessive`` that is one ("McDonald's" as "mcdonalds").
    """
    made: list[Word] = []
    for word in words:
        suffix = word.before == "'" and word.text in _SUFFIXES and not (possessive and word.text == "s")
        numbers = bool(made) and made[-1].text[-1:].isdigit() and word.text[:1].isdigit()
        if word.joined and word.before in ("-", "'") and not (suffix or numbers):
            made[-1] = replace(made[-1], text=made[-1].text + word.text)
        else:
            made.append(word)
    return tuple(made)


def reads_as(words: Sequence[Word], key: Sequence[str]) -> bool:
    """Whether words are a name's; behind its first, "II", "2nd" and "2" are one ("World War II")."""
    return len(words) == len(key) and all(
        word.text == part or (i > 0 and not _is_pronoun(word) and is_same_place(word.text, part))
        for i, (part, word) in enumerate(zip(key, words, strict=True))
    )


def _is_pronoun(word: Word) -> bool:
    """Whether an "I" is no numeral: in lower case, or behind a comma."""
    return word.text == "i" and not (word.upper and word.before == " ")


def first_line(text: str) -> str:
    """Return the first line that says something: no empty one, nor a label alone ("A:")."""
    lines = [line.strip() for line in text.split("\n")]
    spoken = [line for line in lines if line]
    return next((line for line in spoken if not is_label(line)), next(iter(spoken), ""))


def line_is_said(text: str) -> bool:
    """Whether the line that counts is at its end, whatever follows."""
    whole, line_end, _ = text.rpartition("\n")
    return bool(line_end) and not is_label(first_line(whole))


def is_label(line: str) -> bool:
    """Whether a line is empty, or nothing but a label."""
    return _LABEL.fullmatch(line) is not None


def is_function_word(text: str) -> bool:
    """Whether a word in lower case is one of any sentence ("it", "no", "us"), and a name in capitals."""
    return text in _LEAD or text in _ENDS or text in ("us", "me", "be", "am", "go", "do")


def is_lead(words: Sequence[Word]) -> bool:
    """Whether words are nothing but such as may stand in front of an answer."""
    return bool(words) and all(map(_leads, words))


def lead_in(words: Sequence[Word], subject: set[str], *, common: bool, after_subject: bool = False) -> int:
    """Count the words that may stand in front of an answer.

    Args:
        words: what was said.
        subject: the subject's words, which may be named again.
        common: whether answers are common nouns, in front of which names may stand ("American actor").
        after_subject: whether the subject has just been named, which more may follow.
    """
    most = LONGEST_LEAD_AFTER_SUBJECT if after_subject else LONGEST_LEAD
    only_lead = True
    for i, word in enumerate(words[:most]):
        ended = i > 0 and re.search(r"[.!?;](?!\w)", word.before) is not None
        if ended and not only_lead and not _is_abbreviation(words[i - 1]):
            return max(0, i - 1)
        denied = word.text == "t" and word.joined  # "isn't"
        if (word.text in _ENDS or denied) and not (i == 0 and word.text in ("that", "no")):
            return i if word.upper else max(0, i - 1)  # a title may begin with it
        dated = i > 0 and word.text in _DATED and words[i - 1].text.isdigit()
        is_led = _leads(word) or word.text in subject or dated
        if word.upper and not (is_led or common or _is_point(words, i) or _is_passed_over(words, i)):
            return i
        only_lead = only_lead and is_led
    return min(most, len(words))


def _leads(word: Word) -> bool:
    return word.text in _LEAD or word.text.isdigit()


def _is_point(words: Sequence[Word], i: int) -> bool:
    """Whether a word is a point of the compass, in front of a place that it names a part of."""
    pair = tuple(word.text for word in words[i : i + 2])
    return words[i].text in _POINTS and pair not in _OTHER_PLACES


def _is_passed_over(words: Sequence[Word], i: int) -> bool:
    """Whether a name is an adjective ("a Japanese island"), or a place inside another ("in Lyon, France")."""
    while i + 1 < len(words) and words[i + 1].before.strip() != ",":
        following = words[i + 1]
        if following.before != " " or not (following.upper or following.text not in _LEAD):
            return False
        if not following.upper:
            return following.text not in ("and", "or", "has", "had", "can")
        i += 1
    if i + 1 >= len(words):
        return False
    front = i
    while front > 0 and words[front].upper and words[front - 1].upper:
        front -= 1
    return front > 0 and words[front - 1].text in ("in", "at", "of", "near", "the")


def _split(text: str) -> list[tuple[str, str]]:
    """Return words with what stands in front of each; combining marks belong to their word."""
    found: list[tuple[str, str]] = []
    word, before = "", ""
    for character in text:
        if _UNSPACED.match(character):
            found += [(word, before)] if word else []
            before = "" if word else before
            found.append((character, before))
            word, before = "", ""
        elif character.isalnum() or (word and _belongs(character)) or (not word and character == "\u2212"):
            word += character
        elif word:
            found.append((word, before))
            word, before = "", character
        else:
            before += character
    return [*found, (word, before)] if word else found


def _belongs(character: str) -> bool:
    """Whether a character that is no letter belongs to the word in front of it."""
    return character in _SIGNS or unicodedata.category(character)[0] == "M"


def _digit(found: Sequence[Word]) -> bool:
    return found[-1].text[-1:].isdigit()


def _is_article_of_ordinal(words: Sequence[Word], i: int) -> bool:
    """Whether a word is the article in "Henry the Eighth"."""
    return (
        words[i].text == "the"
        and 0 < i < len(words) - 1
        and words[i + 1].text[:1].isdigit()
        and words[i - 1].upper
    )


def _is_abbreviation(word: Word) -> bool:
    return word.text in _TITLES or (len(word.text) == 1 and word.upper)
