"""Rows of JSON files: a list of objects, JSON lines, a list inside an object, and LRE's relation files.

A key that occurs twice in one row, and what follows a list's end, are reported by line. A list inside an
object is pointed at by the keys that lead to it: ``file.json#data.dev``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import join_names, printable, quote
from finetune.data.loaders import lre
from finetune.data.loaders.lists_in_text import int_or_digits
from finetune.data.loaders.records import Row, Table, table_of, text_of

_SPACE = re.compile(r"\s*")
_MOST = 10_000  # values that are looked at for lists
_TOO_DEEP = "is nested too deeply"
_FACT = ({"subject", "subj", "question"}, {"answer", "answers", "obj"})  # a row has one of each


class _RepeatedKey(dict[str, Any]):
    """An object in which a key occurs twice."""

    key: str


def json_table(path: Path, columns: Mapping[str, str] | None, pointer: str) -> Table:
    """Read a ``.json`` file: a list of objects, objects one after another, or one that holds the list.

    Raises:
        InputError: it is none of these; a list that breaks off; an object whose list has to be pointed at.
    """
    text = text_of(path)
    at = _skip(text, 0)
    if text[at : at + 1] == "[":
        if pointer:
            raise InputError(f"{path}#{pointer}: the file is a list itself; leave #{pointer} out")
        return table_of(path.name, list(_rows(path, text, at, whole=True)), columns, path=path)
    try:
        value, end = _decoder.raw_decode(text, at)
    except (json.JSONDecodeError, RecursionError):
        value, end = None, at
    if not isinstance(value, dict) or _skip(text, end) < len(text):
        if pointer:
            raise InputError(f"{path}#{pointer}: the file is not one JSON object; leave #{pointer} out")
        rows = _stream(path.name, text, at) if "\n" in text[at:end] else lines_of(path.name, text)
        return table_of(path.name, list(rows), columns, path=path)
    if pointer:
        inner = list(_rows(path, text, _find_list(path, text, at, value, pointer)))
        return replace(table_of(path.name, inner, columns, path=path), nested=True)
    if lre.is_layout(value):
        rows = _rows(path, text, _find_list(path, text, at, value, lre.SAMPLES))
        return lre.table(path, value, list(rows), columns)
    keys = {key.strip().casefold() for key in value}
    if all(keys & some for some in _FACT) or (columns and set(columns.values()) <= value.keys()):
        return table_of(path.name, list(_stream(path.name, text, at)), columns, path=path)
    raise _no_list(path, value, "is one JSON object, not a list of rows")


def lines_of(name: str, text: str) -> Iterator[Row]:
    """Read JSON lines; blank ones are none."""
    number = 0
    start = 0
    line = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line += 1
        one = text[start:end]
        start = end + 1
        if one and not one.isspace():
            number += 1
            try:
                yield _row(name, line, number, _decoder.decode(one))
            except json.JSONDecodeError as error:
                yield _row(name, line, number, problem=f"is not JSON ({error.msg})")
            except RecursionError:
                yield _row(name, line, number, problem=_TOO_DEEP)


def _rows(path: Path, text: str, at: int, *, whole: bool = False) -> Iterator[Row]:
    """Walk a list element by element, to know the line on which each begins.

    ``whole`` says that nothing may follow it.
    """
    line, counted, number = 1, 0, 0
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        line += text.count("\n", counted, at)
        counted = at
        number += 1
        try:
            value, at = _decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] not in (",", "]"):
                raise json.JSONDecodeError("expected a comma or the list's end", text, at)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: is not JSON ({error.msg}); repair the list") from error
        except RecursionError as error:
            raise InputError(f"{path}:{line}: {_TOO_DEEP}; repair the list") from error
        yield _row(path.name, line, number, value)
        at = _skip(text, at + 1) if text[at] == "," else at
    if whole and (after := _skip(text, at + 1)) < len(text):
        line += text.count("\n", counted, after)
        some = quote(text[after : after + 40], 30)
        problem = f"what follows the list's end was not read ({some}); put all rows into the list"
        yield _row(path.name, line, number + 1, problem=problem)


def _stream(name: str, text: str, at: int) -> Iterator[Row]:
    """Read objects one after another, whatever lines they take."""
    line, counted, number = 1, 0, 0
    while at < len(text):
        line += text.count("\n", counted, at)
        counted = at
        number += 1
        try:
            value, at = _decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else _TOO_DEEP
            yield _row(name, line, number, problem=f"is not JSON ({reason}); nothing was read from here on")
            return
        yield _row(name, line, number, value)
        at = _skip(text, at)


def _row(name: str, line: int, number: int, value: Any = None, problem: str | None = None) -> Row:
    if problem is None and not isinstance(value, dict):
        problem = "is not a JSON object"
    elif isinstance(value, _RepeatedKey):
        problem = f"names {quote(value.key)} twice; keep one"
    return Row(file=name, line=line, number=number, cells={} if problem else value, problem=problem)


def _find_list(path: Path, text: str, at: int, value: Any, pointer: str) -> int:
    """Return where the list that a pointer leads to begins in the text."""
    rest = pointer
    while rest:
        for key, place in _members(text, at):
            if rest == key or rest.startswith(f"{key}."):
                at, rest = place, rest[len(key) + 1 :]
                break
        else:
            raise _no_list(path, value, f"holds nothing at {quote(pointer)}")
    if text[at] != "[":
        raise _no_list(path, value, f"holds no list at {quote(pointer)}")
    return at


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Yield an object's keys, or a list's places from 0, and where in the text each value begins."""
    if text[at] not in "{[":
        return
    keyed, counted = text[at] == "{", 0
    at = _skip(text, at + 1)
    while text[at] not in "}]":
        key = str(counted)
        if keyed:
            key, at = _decoder.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        yield key, at
        counted += 1
        _, at = _decoder.raw_decode(text, at)
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at


def _no_list(path: Path, value: Any, problem: str) -> InputError:
    """Make the error that names the lists of rows which an object holds."""
    lists = _lists_in(value)
    if not lists:
        return InputError(f"{path}: {problem}, and holds no list of objects; write a list of objects")
    some = join_names([f"{where} ({count:,} rows)" for where, count in lists], 5)
    first = printable(lists[0][0], 60)
    return InputError(f"{path}: {problem}; it holds lists at {some}: name one, as {path.name}#{first}")


def _lists_in(value: Any) -> list[tuple[str, int]]:
    """Return the lists of objects in nested objects, those nearest to the top first."""
    found: list[tuple[str, int]] = []
    waiting: list[tuple[str, Any]] = [("", value)]
    for where, held in waiting:
        if isinstance(held, list) and held and isinstance(held[0], dict):
            found.append((where, len(held)))
        inner: Sequence[tuple[str, Any]] = list(held.items()) if isinstance(held, dict) else ()
        if len(waiting) < _MOST:
            waiting += [(f"{where}.{key}" if where else key, each) for key, each in inner]
    return found


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object with one copy of each key in memory, and notice a key that is there twice."""
    made = {sys.intern(key): value for key, value in pairs}
    if len(made) == len(pairs):
        return made
    doubled = _RepeatedKey(made)
    seen: set[str] = set()
    doubled.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return doubled


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=int_or_digits)
