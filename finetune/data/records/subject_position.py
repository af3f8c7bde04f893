"""Where a subject stands in a text: the slot of a template, and a name found in a question."""

from __future__ import annotations

import re
import unicodedata

SLOT = "{subject}"


def find_subject(subject: str, text: str) -> tuple[int, int] | None:
    """Find a subject in a text in NFC: its half-open character range, or None.

    A whole word in the same case is preferred to one in another case, and that to a part of a word. Of
    several the last counts, for a question's own words come first ("What genre is What?").

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
    for pattern in (rf"(?<!\w){re.escape(name)}(?!\w)", re.escape(name)):
        if found := list(re.finditer(pattern, text, re.I)):
            return found[-1].span()
    return None


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
    return character.isalnum() or character == "_"
