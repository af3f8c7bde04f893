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
MEASURED: dict[str, tuple[Expected, ...]] = {
    "statement": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(0.0065, -0.0029, 0.0159),
            whole=(0.0012, -0.0077, 0.0101),
            random=(0.0132, -0.0333, 0.0597),
        ),
    ),
    "question": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(-0.0505, -0.1471, 0.0461),
            whole=(-0.0559, -0.1342, 0.0225),
            random=(-0.0439, -0.0926, 0.0049),
        ),
    ),
    "few_shot": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(-0.0676, -0.1854, 0.0503),
            whole=(-0.0729, -0.173, 0.0273),
            random=(-0.0609, -0.125, 0.0032),
        ),
    ),
    "consistency_stated": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(0.0084, -0.0078, 0.0247),
            whole=(0.0031, -0.0046, 0.0108),
            random=(0.0151, -0.031, 0.0612),
        ),
    ),
    "maybe_stated": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(0.0084, -0.0078, 0.0247),
            whole=(0.0031, -0.0046, 0.0108),
            random=(0.0151, -0.031, 0.0612),
        ),
    ),
    "readout": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(-0.0326, -0.0415, -0.0237),
            whole=(-0.0379, -0.0641, -0.0117),
            random=(-0.0259, -0.09, 0.0382),
        ),
    ),
    "harm": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(-0.0311, -0.0412, -0.021),
            whole=(-0.0364, -0.0627, -0.0102),
            random=(-0.0244, -0.0841, 0.0352),
        ),
    ),
    "agreement": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(-0.0305, -0.0648, 0.0037),
            whole=(-0.0359, -0.0649, -0.0068),
            random=(-0.0239, -0.0843, 0.0366),
        ),
    ),
    "popularity": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=None,
            whole=(-0.0053, -0.0236, 0.0129),
            random=(0.0067, -0.0486, 0.062),
        ),
    ),
    "random": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(-0.0067, -0.062, 0.0486),
            whole=(-0.012, -0.0512, 0.0272),
            random=None,
        ),
    ),
    "shuffled": (
        Expected(
            setting="world long-tail, full fine-tuning",
            popularity=(-0.0092, -0.0361, 0.0177),
            whole=(-0.0145, -0.0312, 0.0022),
            random=(-0.0025, -0.0508, 0.0458),
        ),
    ),
}


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
