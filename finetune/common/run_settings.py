"""The settings of a run held against those that its directory was made with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
DIGEST = re.compile("[0-9a-f]{64}")


def is_unset(value: object) -> bool:
    """Whether a setting says nothing: it is off, or holds nothing. A number of 0 is one."""
    return value is None or value is False or (isinstance(value, list | tuple | str) and not value)


def without_unset(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what is set: an option that an older program did not have says nothing where it is off."""
    return {name: value for name, value in config.items() if not is_unset(value)}


def same_settings(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two runs have the same settings; one that only one of them has says nothing where it is 0."""
    some = [
        without_unset({name: value for name, value in one.items() if value != 0 or name in other})
        for one, other in ((held, wanted), (wanted, held))
    ]
    return some[0] == some[1]


def settings_difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Name two settings that differ; hashes of files, which follow from settings, only where none does."""
    there, here = _flat(held), _flat(wanted)
    differing = [k for k in sorted({*there, *here}) if there.get(k) != here.get(k)]
    told = [k for k in differing if not DIGEST.fullmatch(str(here.get(k) or there.get(k)))] or differing
    return "; ".join(f"{k} is {there.get(k)} there and {here.get(k)} here" for k in told[:2])


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Lay settings out by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def with_home(options: T) -> T:
    """Write the home directory out in paths: a shell does not in ``--out=~/run``, nor a YAML file."""
    if not is_dataclass(options) or isinstance(options, type):
        return options
    held = {each.name: getattr(options, each.name) for each in fields(options) if each.init}
    found: dict[str, Any] = {n: with_home(value) for n, value in held.items() if is_dataclass(value)}
    found |= {name: value.expanduser() for name, value in held.items() if isinstance(value, Path)}
    changed = {name: value for name, value in found.items() if value != held[name]}
    return replace(options, **changed) if changed else options
