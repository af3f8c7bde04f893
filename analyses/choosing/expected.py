"""What the contest found of each score, for the report of a choice: the only thing that it can promise.

What share of held-out facts the half kept by a score was ahead by, over three trainings, with 95% intervals.
``docs/which_data.md`` has all of the contest; these are copied from its ``results.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyses.choosing.settings import HALF, POPULAR, RANDOM, WHOLE
from finetune.facts import InputError
from finetune.files import read_json

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the half kept by one score was ahead of the popular half, of all facts and of a random half by."""

    setting: str
    popularity: Interval | None
    whole: Interval | None
    random: Interval | None


# Filled by repr(from_contest(run)) of finished runs at the default size.
MEASURED: dict[str, tuple[Expected, ...]] = {}


def from_contest(run: Path | str) -> dict[str, tuple[Expected, ...]]:
    """Read what a finished contest found of each score's half, at as many steps, over all held-out facts.

    Raises:
        InputError: the directory holds no finished contest.
    """
    run = Path(run)
    if not (run / "results.json").is_file() or not read_json(run / "manifest.json").get("finished"):
        raise InputError(f"{run}: holds no finished contest; run selection_contest first")
    results, setting = read_json(run / "results.json"), read_json(run / "manifest.json")["setting"]
    halves = next(iter(results["ahead"].values()))["steps"]
    return {
        score: (
            Expected(
                setting=setting,
                popularity=_interval(keeps[f"{HALF:g}"].get(POPULAR)),
                whole=_interval(keeps[f"{HALF:g}"].get(WHOLE)),
                random=_interval(keeps[f"{HALF:g}"].get(RANDOM)),
            ),
        )
        for score, keeps in halves.items()
        if f"{HALF:g}" in keeps
    }


def _interval(parts: dict[str, Any] | None) -> Interval | None:
    number = (parts or {}).get("all", {"low": None})
    if number["low"] is None:
        return None
    return round(number["value"], 4), round(number["low"], 4), round(number["high"], 4)
