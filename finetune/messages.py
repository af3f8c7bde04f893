"""Printable messages: text that came from data or options, made safe for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

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


def without_escapes(shown: object) -> object:
    """Wrap what is to be drawn on a terminal so that no text in it moves the cursor or changes colours."""
    return _Harmless(shown)


class _Harmless:
    """Draws something without the control characters that its texts hold; rich's own are kept."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for part in console.render(self.shown, options):
            kept = part.control or part.text == "\n"
            yield part if kept else Segment(without_controls(part.text), part.style)
