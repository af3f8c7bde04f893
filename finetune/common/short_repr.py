"""Short reprs: what an object holds in a few lines, and as a small table in a notebook.

A class that inherits :class:`ShortRepr` is shown by its dataclass fields, or by what its ``_shown`` says:
text is cut, sequences and tables are counted, tensors are shapes. ``_rows`` adds the first rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from pathlib import PurePath
from typing import Any

from finetune.common.messages import printable

LINE, WHOLE, PAGE = 100, 200, 1900  # characters: a value; of what stands on one line; all
FIRST, ROWS, COLUMNS = 3, 5, 8  # of a sequence, of a table


class ShortRepr:
    """Shows itself in at most ``PAGE`` characters, and in a notebook as a small escaped table."""

    __slots__ = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.__repr__ = ShortRepr.__repr__  # type: ignore[method-assign]  # a dataclass would write its own

    def _shown(self) -> Mapping[str, Any]:
        """Return what is shown, by name; the fields that have a value."""
        names: list[str] = [field.name for field in fields(self)] if is_dataclass(self) else []
        return {name: value for name in names if _says_something(value := getattr(self, name))}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        """Return the first rows of what is held; none by default."""
        return ()

    def __repr__(self) -> str:
        parts = [f"{name}={described(value)}" for name, value in self._shown().items()]
        name, line = type(self).__name__, ", ".join(parts)
        if len(line) <= WHOLE:
            return f"{name}({line})"
        text = f"{name}(\n" + "".join(f"  {part}\n" for part in parts)
        return f"{text if len(text) <= PAGE else text[:PAGE] + '…'})"

    def _repr_html_(self) -> str:
        told = "".join(
            f'<tr><th style="text-align: left">{escape(name)}</th>'
            f'<td style="text-align: left">{escape(described(value))}</td></tr>'
            for name, value in list(self._shown().items())[:40]
        )
        rows = [{k: described(v, LINE // 2) for k, v in row.items()} for row in self._rows()[:ROWS]]
        names = list(rows[0])[:COLUMNS] if rows else []
        heads = "".join(f"<th>{escape(name)}</th>" for name in names)
        cells = "".join(
            "<tr>" + "".join(f"<td>{escape(row.get(name, ''))}</td>" for name in names) + "</tr>"
            for row in rows
        )
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>" if rows else ""
        name = escape(type(self).__name__)
        return f"<div><strong>{name}</strong><table><tbody>{told}</tbody></table>{table}</div>"


def _says_something(value: Any) -> bool:
    return value is not None and not (isinstance(value, Collection) and not len(value))


def described(value: Any, longest: int = LINE) -> str:
    """Say in at most ``longest`` characters what a value is: itself if it is short, else how much of what."""
    text = _described(value, longest)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _described(value: Any, longest: int) -> str:
    if isinstance(value, str):
        return repr(printable(value, longest))
    if isinstance(value, PurePath):
        return printable(value, longest)
    if isinstance(value, ShortRepr):
        return repr(value) if len(line := repr(value)) <= longest and "\n" not in line else _in_short(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        size = ", ".join(map(str, value.shape))
        return f"{str(value.dtype).removeprefix('torch.')}[{size}]" if size else str(value)
    if hasattr(value, "columns") and hasattr(value, "index"):
        return f"table of {len(value):,} rows, {len(value.columns)} columns"
    if isinstance(value, Mapping):
        return f"{len(value)}: {_first(value, longest)}"
    if isinstance(value, Collection) and not isinstance(value, bytes | range):
        short = (
            f"({_first(value, longest)}{',' if len(value) == 1 else ''})"  # or a tuple of one reads as text
        )
        return short if len(value) <= FIRST else f"{len(value):,}: {_first(value, longest)}"
    if value is None or isinstance(value, bool | int | float | range):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    return type(value).__name__


def _first(values: Collection[Any], longest: int) -> str:
    some = [value for value, _ in zip(values, range(FIRST), strict=False)]
    return ", ".join(described(value, longest // FIRST) for value in some) + (
        ", …" if len(values) > FIRST else ""
    )


def _in_short(value: ShortRepr) -> str:
    """Name an object inside another one: its class, and how many or what its first words say."""
    size = f" of {len(value):,}" if hasattr(value, "__len__") else ""
    return f"{type(value).__name__}{size}"
