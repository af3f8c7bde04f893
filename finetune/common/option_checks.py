"""Validation of options: which numbers, names and paths a setting may have, said beside each field.

A field says its range in its type, ``steps: Count = 100``, and :func:`require_valid` holds a dataclass to it,
whoever made it: the command line, a YAML file or a Python caller. What no field says alone (options that
contradict each other, or that nothing would read) is for ``check()`` of the dataclass, with
:func:`refuse_unread`.
"""

from __future__ import annotations

import types
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from finetune.common.errors import InputError
from finetune.common.messages import printable

MOST = 10**9  # of anything that is counted, one by one
LONGEST_TEXT = 100_000
_LINE_ENDS = frozenset(("Cc", "Zl", "Zp"))  # and control characters


@dataclass(frozen=True)
class Within:
    """Bounds of a number; ``open_low`` and ``open_high`` leave the bound itself out."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies within; not a number never does."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def describe(self, kind: str) -> str:
        """Say what to give instead."""
        low, high = (f"{int(x):,}" if float(x).is_integer() else f"{x:g}" for x in (self.low, self.high))
        if self.high >= MOST:
            return f"give {kind} {'above' if self.open_low else 'of at least'} {low} and at most {high}"
        outside = [end for end, left in ((low, self.open_low), (high, self.open_high)) if left]
        return f"give {kind} between {low} and {high}" + (f", not {' or '.join(outside)}" if outside else "")


# numpy and torch take seeds of 32 bits.
Seed = Annotated[int, Within(0, 2**32 - 1)]
Count = Annotated[int, Within(1, MOST)]
CountOrNone = Annotated[int, Within(0, MOST)]
Share = Annotated[float, Within(0, 1)]
PositiveShare = Annotated[float, Within(0, 1, open_low=True)]
InnerShare = Annotated[float, Within(0, 1, open_low=True, open_high=True)]
ShareBelowOne = Annotated[float, Within(0, 1, open_high=True)]
Positive = Annotated[float, Within(0, 1e9, open_low=True)]
PositiveOrZero = Annotated[float, Within(0, 1e9)]
Rate = Annotated[float, Within(0, 10, open_low=True)]  # of learning


def require_valid(options: Any, *, flags: bool = True) -> None:
    """Hold every field of a dataclass, and of those inside it, to its type and range.

    ``flags`` names a setting as the command line does (``--batch-tokens``), else as Python does.

    Raises:
        InputError: names the setting, its value and what to give instead.
    """
    defaults = {each.name: _default(each) for each in fields(options)}
    for name, kind in _hints(type(options)).items():
        value = getattr(options, name)
        if isinstance(value, str) and not value and value == defaults[name]:
            continue
        label = flag(_called(name, kind)) if flags else name
        if is_dataclass(value) and not isinstance(value, type):
            require_valid(value, flags=flags)
        elif problem := _problem(value, kind):
            range_text = f" {_format_value(value)}" if flags else f" = {_format_value(value, repr)}"
            raise InputError(f"{label}{range_text}: {problem}")


def refuse_unread(options: Any, names: Iterable[str], remedy: str, *, usual: Any = None) -> None:
    """Refuse settings that were given although nothing would read them as the others are set.

    Args:
        options: a dataclass of options.
        names: its fields that are not read.
        remedy: what to do instead, as ``goes with --facts``.
        usual: an object whose values count as not given; by default those are the fields' defaults.

    Raises:
        InputError: names the first one that was given.
    """
    defaults = {each.name: _default(each) for each in fields(options)}
    for name in sorted(names):
        value = getattr(options, name)
        if value != (defaults[name] if usual is None else getattr(usual, name)):
            raise InputError(f"{flag(name)} {_format_value(value)}: {remedy}")


def flag(name: str) -> str:
    """Return how a field is called on the command line."""
    return f"--{name.replace('_', '-')}"


def _called(name: str, kind: Any) -> str:
    """Return the name that an option bears on the command line, where its type gives it another one."""
    return next(
        (told for more in getattr(kind, "__metadata__", ()) if (told := getattr(more, "name", None))), name
    )


def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: hints[each.name] for each in fields(kind)}


def _default(each: Any) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _problem(value: Any, kind: Any) -> str:
    """Say what is wrong with a value of a type, or nothing."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *extras = get_args(kind)
        within = [each for each in extras if isinstance(each, Within)]
        return _number_problem(value, inner, within[0]) if within else _problem(value, inner)
    if origin in (Union, types.UnionType):
        problems = [_problem(value, each) for each in get_args(kind)]
        # The part that names values or bounds helps more than "leave it out".
        return "" if "" in problems else max(problems, key=len)
    if origin is Literal:
        choices = get_args(kind)
        right = any(value == each and type(value) is type(each) for each in choices)
        return "" if right else f"choose one of {', '.join(map(str, choices))}"
    if origin is tuple:
        return _items_problem(value, get_args(kind))
    return _plain_problem(value, kind)


def _items_problem(value: Any, kinds: Sequence[Any]) -> str:
    if not isinstance(value, tuple | list):
        return "give a tuple"
    found = (problem for item in value if (problem := _problem(item, kinds[0])))
    if problem := next(found, ""):
        return problem
    return "give each one once" if len(set(value)) < len(value) else ""


def _plain_problem(value: Any, kind: Any) -> str:
    if kind in (int, float):
        return _number_problem(value, kind, Within(-(2**63), 2**63))
    if kind is type(None):
        return "" if value is None else "leave it out"
    if kind is bool:
        return "" if isinstance(value, bool) else "give true or false"
    if kind in (str, Path):
        return _text_problem(value, kind)
    return "" if not isinstance(kind, type) or isinstance(value, kind) else f"give a {kind.__name__}"


def _number_problem(value: Any, kind: type, within: Within) -> str:
    whole = kind is int
    range_text = within.describe("a whole number" if whole else "a number")
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return f"{range_text} (this is a {type(value).__name__})"
    return "" if within.holds(value) else range_text


def _text_problem(value: Any, kind: type) -> str:
    if not isinstance(value, kind):
        return "give a path" if kind is Path else "give text"
    text = str(value)
    if not text.strip():
        return "give some text, or leave it out"
    if len(text) > LONGEST_TEXT:
        return f"give at most {LONGEST_TEXT:,} characters"
    if "\0" in text or any("\ud800" <= mark <= "\udfff" for mark in text):
        return "write it in UTF-8, without the character 0"
    if kind is Path and any(unicodedata.category(mark) in _LINE_ENDS for mark in text):
        return "give a path without line breaks and control characters"
    return ""


def _format_value(value: Any, text: Callable[[Any], str] = str) -> str:
    items = value if isinstance(value, tuple | list) else (value,)
    try:
        words = (f"{each:g}" if isinstance(each, float) else text(each) for each in items)
        return printable(" ".join(words), 80)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"
