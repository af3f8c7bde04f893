"""The tidy results frame: every number of a results.json as one row, looked up by its place.

A number's place is its path, as in ``depths/4/recovery/placebo``; a slash within a key is written ``~1``, and
``~`` itself ``~0`` (JSON pointers, RFC 6901). The frame cuts places into columns: ``seed`` is the key after
``seeds``, ``arm`` the one after ``arms`` or ``cures``, ``setting`` what comes before it and ``name`` what
comes after it; without an arm the name is the last key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

Number = dict[str, Any]  # value, low, high, n
Place = tuple[str, ...]
NONE: Number = {"value": None, "low": None, "high": None, "n": 0}
SEEDS, ARMS = "seeds", ("arms", "cures")
COLUMNS = ("name", "arm", "seed", "setting", *NONE)


@dataclass(frozen=True)
class Results:
    """The numbers of a run by their places, in the order of results.json."""

    numbers: Mapping[Place, Number]

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Results:
        """Take the numbers of a results tree; a branch without any leaves nothing."""
        return cls(dict(_leaves(tree, ())))

    def to_frame(self) -> pd.DataFrame:
        """Return a row a number: name, arm, seed, setting, value, low, high, n; a missing bound is NaN."""
        rows = [{**_columns(place), **number} for place, number in self.numbers.items()]
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        return frame.astype({"value": "float64", "low": "float64", "high": "float64", "n": "int64"})

    def tree(self) -> dict[str, Any]:
        """Return the results tree."""
        made: dict[str, Any] = {}
        for place, number in self.numbers.items():
            branch = made
            for key in place[:-1]:
                branch = branch.setdefault(key, {})
            branch[place[-1]] = dict(number)
        return made

    def __contains__(self, place: str | Place) -> bool:
        return _keys(place) in self.numbers

    def at(self, place: str | Place) -> Number:
        """Return the number at a place, and ``NONE`` where there is none."""
        return self.numbers.get(_keys(place), NONE)

    def below(self, place: str | Place = "") -> dict[str, Results]:
        """Return what lies below a place, by the next key; nothing where there is no such place."""
        start = _keys(place)
        parts: dict[str, dict[Place, Number]] = {}
        for keys, number in self.numbers.items():
            if len(keys) > len(start) and keys[: len(start)] == start:
                parts.setdefault(keys[len(start)], {})[keys[len(start) + 1 :]] = number
        return {key: Results(part) for key, part in parts.items()}

    def part(self, place: str | Place) -> Results:
        """Return all that lies below a place."""
        n = len(start := _keys(place))
        return Results({keys[n:]: number for keys, number in self.numbers.items() if keys[:n] == start})


def _leaves(tree: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, Number]]:
    if "value" in tree:
        yield place, {**NONE, **tree}
        return
    for key, part in tree.items():
        if isinstance(part, Mapping):
            yield from _leaves(part, (*place, str(key)))


def _columns(place: Place) -> dict[str, str]:
    seed = place[1] if place[0] == SEEDS and len(place) > 2 else ""
    keys = place[2:] if seed else place
    at = next((i for i, key in enumerate(keys[:-2]) if key in ARMS), None)
    cut = len(keys) - 1 if at is None else at + 1
    arm, name = ("", keys[cut:]) if at is None else (keys[cut], keys[cut + 1 :])
    return {"name": _joined(name), "arm": arm, "seed": seed, "setting": _joined(keys[:cut])}


def _joined(keys: Place) -> str:
    return "/".join(key.replace("~", "~0").replace("/", "~1") for key in keys)


def _keys(place: str | Place) -> Place:
    if isinstance(place, tuple):
        return place
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in place.split("/")) if place else ()
