"""Every command of the package, found where it stands: its options and how they are checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import analyses
from finetune.common.errors import InputError


def commands() -> dict[str, type[Any]]:
    """Return the options of every command by its name."""
    rooms = sorted(path.parent for path in Path(analyses.__file__).parent.glob("experiments/*/options.py"))
    places = {f"analyses.{room.name}": f"analyses.experiments.{room.name}.options" for room in rooms}
    places |= {name: name for name in ("finetune.__main__", "interp.reports.pages.command")}
    return {name: _options(import_module(place)) for name, place in places.items()}


def _options(module: ModuleType) -> type[Any]:
    """Return the one dataclass of options that a module defines."""
    (kind,) = (
        value
        for key, value in vars(module).items()
        if key.endswith("Options") and is_dataclass(value) and value.__module__ == module.__name__
    )
    return kind


def check(options: Any) -> None:
    """Check options as the command does before it writes anything."""
    getattr(options, "resolved", lambda: options)().check()


def refusal(options: Any) -> str | None:
    """Return what a command says against options before it writes anything; None where it takes them."""
    try:
        check(options)
    except InputError as error:
        return str(error)
    return None


def numbers(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, bool]]:
    """Yield every number among a dataclass's fields: its path, its annotation, and whether in a tuple."""
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        hint = hints[each.name]
        inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if is_dataclass(inner):
            yield from numbers(inner, (*path, each.name))
        else:
            yield from (((*path, each.name), *found) for found in _in_hint(hint))


def _in_hint(hint: Any, *, many: bool = False) -> Iterator[tuple[Any, bool]]:
    if hint in (int, float) or (get_origin(hint) is Annotated and get_args(hint)[0] in (int, float)):
        yield hint, many
    elif hint is not bool and get_origin(hint) is not None and get_origin(hint) is not Annotated:
        for part in get_args(hint):
            yield from _in_hint(part, many=many or get_origin(hint) is tuple)
