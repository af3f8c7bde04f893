"""Where a subject stands in a text: the slot of a template, and a name found in a question."""

from __future__ import annotations

import re
import unicodedata

SLOT = "{subject}"
FEWEST_LETTERS = 3  # of a name that begins a longer word


def find_subject(subject: str, text: str) -> tuple[int, int] | None:
    """Find a subject in a text in NFC: its half-open character range, or None.

    A whole word in the same case is preferred to one in another case, and that to a part of a word: its
    beginning, of three letters or more ("Kenya" in "Kenyans"), or any part where words are not told apart by
    case and spaces. Of several the last counts, for a question's own words come first ("What genre is
    What?").

    Examples:
        >>> find_subject("Ada", "Is Ada from Canada?")
        (3, 6)
        >>> find_subject("What", "What genre is What?")
        (14, 18)
    """
    name = unicodedata.normalize("NFC", subject)
    if not name:
        return None
    if span := _last_word(name, text):
        return span
    if name.isascii() and text.isascii() and name.lower() not in text.lower():
        return None
    found = [match.span() for match in re.finditer(re.escape(name), text, re.I)]
    words = [span for span in found if not (_is_word(text[: span[0]][-1:]) or _is_word(text[span[1] :][:1]))]
    parts = words or [span for span in found if _is_part(text, *span)]
    return parts[-1] if parts else None


def _is_part(text: str, start: int, end: int) -> bool:
    """Whether a name is all or the beginning of a word there; within one only where words have no case."""
    begins = not (_has_case(text[:start][-1:]) and _has_case(text[start]))
    ends = not (_has_case(text[end - 1]) and _has_case(text[end:][:1]))
    return begins and (ends or end - start >= FEWEST_LETTERS)


def _has_case(character: str) -> bool:
    return character.lower() != character.upper() or character.isdigit() or character == "_"


def _last_word(name: str, text: str) -> tuple[int, int] | None:
    """Find the last of the matches of ``(?<!\\w)name(?!\\w)``, without compiling one for each name."""
    last, start = None, text.find(name)
    while start >= 0:
        end = start + len(name)
        if _is_word(text[start - 1 : start]) or _is_word(text[end : end + 1]):
            start = text.find(name, start + 1)
        else:
            last, start = (start, end), text.find(name, end)
    return last


def _is_word(character: str) -> bool:
    # Vowel signs and other marks belong to the letter before them.
    return character.isalnum() or character == "_" or unicodedata.category(character or " ")[0] == "M"
