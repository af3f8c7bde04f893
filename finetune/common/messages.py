"""Printable messages: text that came from data or options, made safe for a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

LONGEST = 500  # characters of a whole message
_HEAD = 4096  # characters that are looked at: a message never shows more
_SEQUENCE = re.compile(  # of a terminal
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.S
)
_SPACED = frozenset(("Cc", "Zl", "Zp"))  # controls and line ends, which may part two words
_DROPPED = frozenset(("Cf", "Cs", "Co"))  # direction marks, zero-width characters, lone surrogates


def printable(text: object, limit: int = LONGEST) -> str:
    """Return a text on one line without what a terminal would obey, its middle left out if it is too long.

    Examples:
        >>> printable("sub\\nject \\x1b[31mred\\x1b[0m")
        'sub ject red'
        >>> printable("a" * 30 + "b" * 30, 21)
        'aaaaaaaaaaaaa ... bbb'
    """
    line = str(text)
    if len(line) > 2 * _HEAD:
        line = line[:_HEAD] + line[-_HEAD:]
    if not line.isprintable():
        line = _SEQUENCE.sub("", line)
        line = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in line)
        line = " ".join(line.split())
    if len(line) <= limit:
        return line
    tail = (limit - 5) // 5
    return f"{line[: limit - 5 - tail]} ... {line[-tail:] if tail else ''}"


def quote(value: Any, limit: int = 60) -> str:
    """Quote a value of the data for a message, printable and short.

    Examples:
        >>> quote("Oslo\\x1b[2J")
        "'Oslo'"
    """
    if isinstance(value, str):
        return repr(printable(value, limit))
    if isinstance(value, int) and value.bit_length() > 4000:
        return "a number of over a thousand digits"  # which Python does not write out
    told = value is None or isinstance(value, int | float)
    return printable(str(value), limit) if told else type(value).__name__


def join_names(names: Any, most: int = 8) -> str:
    """List names of the data, the first few of them, and say how many more there are."""
    names = list(names)
    some = ", ".join(printable(str(name), 30) or "''" for name in names[:most])
    return some + (f" and {len(names) - most:,} more" if len(names) > most else "")


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
    return _WithoutEscapes(shown)


class _WithoutEscapes:
    """Draws something without the control characters that its texts hold; rich's own are kept."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for part in console.render(self.shown, options):
            kept = part.control or part.text == "\n"
            yield part if kept else Segment(without_controls(part.text), part.style)


def one_line(error: BaseException | str, most: int = 200) -> str:
    """Return the beginning of an error's message, or of what a program said, in one printable line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:most].rstrip(". ")
