"""Printable messages: text that came from data or options, made safe for a terminal."""

from __future__ import annotations

import unicodedata

LONGEST = 80
_SPACED = frozenset(("Cc", "Zl", "Zp"))  # controls and line ends, which may part two words
_DROPPED = frozenset(("Cf", "Cs", "Co"))  # direction marks, zero-width characters, lone surrogates


def printable(text: object, limit: int = LONGEST) -> str:
    r"""Return ``text`` as at most ``limit`` characters of one line, without control characters.

    Terminal escapes and line breaks become spaces, direction marks and lone surrogates vanish; of a longer
    text the beginning is kept and an ellipsis ends it.

    Examples:
        >>> printable("a\n\x1b[31mb")
        'a [31mb'
        >>> printable("abcdefgh", limit=5)
        'abcd…'
    """
    # Slicing first keeps a message about a cell of a gigabyte cheap.
    given = str(text)
    line = " ".join(without_controls(given[: 4 * limit + 4], " ").split())
    if len(line) <= limit and len(given) <= 4 * limit + 4:
        return line
    return line[: max(limit - 1, 0)] + "…"


def without_controls(text: str, instead: str = "") -> str:
    r"""Return ``text`` without characters that move a terminal's cursor, colour it or turn its direction.

    Examples:
        >>> without_controls("a\x1b[31m\u202eb")
        'a[31mb'
    """
    if text.isascii() and text.isprintable():
        return text
    kinds = ((mark, unicodedata.category(mark)) for mark in text)
    return "".join("" if kind in _DROPPED else instead if kind in _SPACED else mark for mark, kind in kinds)
