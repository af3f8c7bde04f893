"""What the contest found of each score, for the report of a choice: the only thing that it can promise.

What share of held-out facts the half kept by a score was ahead by, over three trainings, with 95% intervals.
``docs/which_data.md`` has all of the contest; these are copied from its ``results.json``.
"""

from __future__ import annotations

from dataclasses import dataclass

Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the half kept by one score was ahead of the popular half, of all facts and of a random half by."""

    setting: str
    popularity: Interval | None
    whole: Interval | None
    random: Interval | None


MEASURED: dict[str, tuple[Expected, ...]] = {}
