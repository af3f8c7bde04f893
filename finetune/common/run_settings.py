"""The settings of a run held against those that its directory was made with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DIGEST = re.compile("[0-9a-f]{64}")


def without_unset(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what is set: an option that an older program did not have says nothing where it is off."""
    return {name: value for name, value in config.items() if value not in (None, False, [], "")}


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
