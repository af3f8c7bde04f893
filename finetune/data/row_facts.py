"""The fact of each row of some tables, or the reason why it has none."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field

from finetune.data.loaders.records import place
from finetune.data.records.fact import Fact


@dataclass(kw_only=True)
class RowFacts:
    """The fact of each row of all tables, or the reason why it has none, and where each row stands."""

    facts: list[Fact | None] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))
    rivals: list[int] = field(default_factory=list)  # set aside for what another fact is asked or called
    further: dict[int, list[int]] = field(default_factory=dict)  # rows that a row's fact has answers of

    def table(self, index: int) -> str:
        """Name the table that a row is of."""
        return self.names[bisect_right(self.starts, index) - 1]

    def where(self, index: int) -> str:
        """Say where a row stands."""
        return place(self.table(index), self.lines[index], self.numbers[index])

    def drop(self, index: int, reason: str) -> None:
        """Set a row's fact aside."""
        self.facts[index], self.reasons[index] = None, reason

    def fact(self, index: int) -> Fact:
        """Return a row's fact, which it must have."""
        fact = self.facts[index]
        assert fact is not None
        return fact
