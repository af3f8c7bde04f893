"""What contests found of each score, for the report of a choice: the only thing that it can promise.

What share of held-out facts the half kept by a score was ahead by, over three trainings, with 95% intervals.
``docs/which_data.md`` has all of the contests; ``expected_gains.json`` is made of their results by

    python -m analyses.experiments.which_data.expected_gains runs/contest runs/contest_popqa
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analyses.experiments.selection_contest.claims import sets_of
from analyses.experiments.selection_contest.setups import POPULAR, RANDOM, WHOLE
from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from interp.reports.read.results import Number, Results

Interval = tuple[float, float, float]  # value, low, high
FILE = Path(__file__).with_name("expected_gains.json")


@dataclass(frozen=True, kw_only=True)
class ExpectedGain:
    """What the half kept by one score was ahead of the popular half, of all facts and of a random half by."""

    setting: str
    popularity: Interval | None
    whole: Interval | None
    random: Interval | None


@cache
def measured_gains() -> dict[str, tuple[ExpectedGain, ...]]:
    """Return by score what every contest found of it."""
    return {
        score: tuple(ExpectedGain(**{k: _plain(v) for k, v in each.items()}) for each in some)
        for score, some in read_json(FILE).items()
    }


def _plain(held: Any) -> Any:
    return tuple(held) if isinstance(held, list) else held


def merge_contests(runs: list[Path]) -> dict[str, tuple[ExpectedGain, ...]]:
    """Put together what several finished contests found."""
    found: dict[str, tuple[ExpectedGain, ...]] = {}
    for run in runs:
        for score, each in from_contest(run).items():
            found[score] = (*found.get(score, ()), each)
    return found


def from_contest(run: Path | str) -> dict[str, ExpectedGain]:
    """Read what a finished contest found of each score's half, at as many steps, over all held-out facts.

    Raises:
        InputError: the directory holds no finished contest.
    """
    run = Path(run)
    if not (run / "results.json").is_file() or not read_json(run / "manifest.json").get("finished"):
        raise InputError(f"{run}: holds no finished contest; run selection_contest first")
    results, manifest = Results.of(read_json(run / "results.json")), read_json(run / "manifest.json")
    setting = f"{manifest['setting']}, seeds {' '.join(map(str, manifest['seeds']))}"
    halves = sets_of(results, next(iter(results.below("ahead"))), "steps")
    return {
        score: ExpectedGain(
            setting=setting,
            popularity=_interval(part.at(f"{POPULAR}/all")),
            whole=_interval(part.at(f"{WHOLE}/all")),
            random=_interval(part.at(f"{RANDOM}/all")),
        )
        for score, part in halves.items()
    }


def _interval(number: Number) -> Interval | None:
    if number["low"] is None:
        return None
    return round(number["value"], 4), round(number["low"], 4), round(number["high"], 4)


if __name__ == "__main__":
    told = merge_contests([Path(argument) for argument in sys.argv[1:]])
    write_json(FILE, {score: [asdict(each) for each in some] for score, some in told.items()})
