"""Where a checkpoint comes from, where its directory says so: a sentence for manifests and reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from finetune.common.files import read_json, write_json

ORIGIN = "origin.json"


def write_origin(folder: Path, sentence: str, **details: str) -> None:
    """Note in a checkpoint's directory what it is and what it was made of."""
    write_json(folder / ORIGIN, {"origin": sentence, **details})


def origin_of(source: str | Path) -> str | None:
    """Return what the directory of a checkpoint says of its origin; None where it says nothing."""
    try:
        held = read_json(Path(source) / ORIGIN)
        return str(held["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def origins_of(sources: Mapping[str, str | Path | None]) -> dict[str, str]:
    """Return the origins of those sources that have one, by name."""
    found = {name: origin_of(source) for name, source in sources.items() if source}
    return {name: origin for name, origin in found.items() if origin}
