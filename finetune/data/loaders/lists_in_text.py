"""Lists that are written as text inside a cell: JSON's, Python's as pandas writes them, and numpy's.

Text is parsed, never run: JSON by :mod:`json`, Python's literals by :func:`ast.literal_eval`, and neither if
it is too long or nested too deep for a list of answers.
"""

from __future__ import annotations

import ast
import json
import re
from itertools import pairwise
from typing import Any

LONGEST = 20_000  # characters of a list as text
DEEPEST = 20  # opening brackets in a row; a list of answers has one or two
MALFORMED_LIST = object()

_LITERAL = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
# numpy writes no commas, and Python would join such neighbours into one text.
_NUMPY = re.compile(rf"\[\s*{_LITERAL}(?:\s+{_LITERAL})*\s*\]")
_DEEP = re.compile(rf"(?:[\[{{(]\s*){{{DEEPEST}}}")
_ARRAY = re.compile(r"array\((\[.*\])(?:,\s*dtype=\S+)?\)", re.S)
_TUPLE_OF_TEXTS = re.compile(rf"\(\s*{_LITERAL}\s*,.*\)", re.S)


def parse_list(text: str, *, strict: bool = False, depth: int = 0) -> Any:
    """Return the list or object that a text writes out, or None where it is just text.

    With ``strict``, text that begins as a list and is none is :data:`MALFORMED_LIST`; else only what begins
    with a bracket and a quote is, for "[sic]" is text.
    """
    text = text.strip()
    first = text[:1]
    if first == '"':
        return _parse_nested_string(text, depth)
    if not first or first not in "[{(a" or (first == "(" and not _TUPLE_OF_TEXTS.fullmatch(text)):
        return None
    if first == "a":
        found = _ARRAY.fullmatch(text)
        if not found:
            return None
        text = found[1]
    made = _parse_literal(text)
    if isinstance(made, list | dict):
        return made
    if isinstance(made, tuple) and all(isinstance(item, str) for item in made):
        return list(made)
    broken = first in "[a" and (strict or text[1:].lstrip()[:1] in ("'", '"'))
    # Which answer of a set was the first is lost; "{0}" is text with braces.
    of_texts = isinstance(made, set) and all(isinstance(item, str) for item in made)
    return MALFORMED_LIST if broken or of_texts else None


def _parse_nested_string(text: str, depth: int) -> Any:
    """Look into a JSON string, which may be a list that was written as text twice."""
    if depth > 2 or len(text) > LONGEST or not text.endswith('"'):
        return None
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(inner, str) or not inner.lstrip().startswith(("[", '"')):
        return None
    found = parse_list(inner, depth=depth + 1)
    return found if isinstance(found, list) else None


def _parse_literal(text: str) -> Any:
    """Parse a list, tuple or object; None if it is neither JSON's nor Python's."""
    if len(text) > LONGEST or _DEEP.search(text):
        return None
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError):
        pass
    text = "[None]" if text == "[nan]" else text
    literals = list(re.finditer(_LITERAL, text, re.S))
    try:
        if _NUMPY.fullmatch(text):
            return [ast.literal_eval(literal[0]) for literal in literals]
        between = [text[a.end() : b.start()] for a, b in pairwise(literals)]
        # Python would join texts that nothing stands between.
        return None if any(not gap.strip() for gap in between) else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def int_or_digits(digits: str) -> int | str:
    """Keep a number that is too long for one as its digits."""
    return int(digits) if len(digits) < 1000 else digits


_decoder = json.JSONDecoder(parse_int=int_or_digits)
