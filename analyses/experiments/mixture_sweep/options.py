"""Options of mixture_sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analyses.common.world_options import WorldOptions
from finetune.common.errors import InputError
from finetune.common.option_checks import Share


@dataclass(frozen=True, kw_only=True)
class MixtureSweepOptions(WorldOptions):
    """How many popular facts should a fine-tuning set hold, and in which order?"""

    out: Path = Path("runs/mixture_sweep")
    """Run directory; the same command continues it."""
    shares: tuple[Share, ...] = ()
    """Shares of popular facts (default: 0 to 1 in quarters, with --full in tenths)."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        if len(self.shares) == 1:
            given = " ".join(map(str, self.shares))
            raise InputError(f"--shares {given}: give two or more different shares between 0 and 1")

    @property
    def chosen(self) -> tuple[float, ...]:
        """The shares to measure."""
        parts = 10 if self.full else 4
        return self.shares or tuple(i / parts for i in range(parts + 1))
