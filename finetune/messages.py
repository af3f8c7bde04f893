"""Printable error messages: text that came from data or options, safe for one short line of a terminal."""

from __future__ import annotations

import unicodedata

LONGEST = 80
_GONE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(text: object, limit: int = LONGEST) -> str:
    r"""Return ``text`` as at most ``limit`` characters of one line, without control characters.

    Terminal escapes, line breaks, direction marks and lone surrogates become spaces; of a longer text the
    beginning is kept and an ellipsis ends it.

    Examples:
        >>> printable("a\n\x1b[31mb")
        'a [31mb'
        >>> printable("abcdefgh", limit=5)
        'abcd…'
    """
    # Slicing first keeps a message about a cell of a gigabyte cheap.
    start = str(text)[: 4 * limit + 4]
    clean = "".join(" " if unicodedata.category(mark) in _GONE else mark for mark in start)
    line = " ".join(clean.split())
    return line if len(line) <= limit else line[: max(limit - 1, 0)] + "…"
