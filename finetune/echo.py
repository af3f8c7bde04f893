"""Printable text for messages: data are echoed on one line, without control characters, and cut short."""

from __future__ import annotations

import re
from typing import Any

LONGEST = 500  # characters of a whole message
_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.S
)  # of a terminal
_HEAD = 4096  # characters that are looked at: a message never shows more


def printable(text: str, limit: int = LONGEST) -> str:
    """Return a text on one line without what a terminal would obey, its middle left out if it is too long."""
    if len(text) > 2 * _HEAD:
        text = text[:_HEAD] + text[-_HEAD:]
    if not text.isprintable():
        text = _SEQUENCE.sub("", text)
        text = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)
        text = " ".join(text.split())
    if len(text) <= limit:
        return text
    tail = (limit - 5) // 5
    return f"{text[: limit - 5 - tail]} ... {text[-tail:] if tail else ''}"


def shown(value: Any, limit: int = 60) -> str:
    """Quote a value of the data for a message, printable and short."""
    if isinstance(value, str):
        return repr(printable(value, limit))
    if isinstance(value, int) and value.bit_length() > 4000:
        return "a number of over a thousand digits"  # which Python does not write out
    told = value is None or isinstance(value, int | float)
    return printable(str(value), limit) if told else type(value).__name__


def listed(names: Any, most: int = 8) -> str:
    """List names of the data, the first few of them, and say how many more there are."""
    names = list(names)
    some = ", ".join(printable(str(name), 30) or "''" for name in names[:most])
    return some + (f" and {len(names) - most:,} more" if len(names) > most else "")
