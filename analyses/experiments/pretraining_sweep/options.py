"""Options of pretraining_sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from analyses.common.world_options import WorldOptions
from finetune.common.errors import InputError
from finetune.common.option_checks import Positive, Within

LENGTH, EXPONENT = "length", "exponent"


@dataclass(frozen=True, kw_only=True)
class PretrainingSweepOptions(WorldOptions):
    """Does the gap between arms close where every fact is well stored, and grow with long-tailedness?"""

    out: Path = Path("runs/pretraining_sweep")
    """Run directory; the same command continues it."""
    lengths: tuple[Positive, ...] = (1 / 3, 1, 2)
    """Pretraining lengths, in units of the world's own."""
    exponents: tuple[Annotated[float, Within(0, 10, open_low=True)], ...] = (1.0, 1.3, 1.5)
    """Zipf exponents of the subjects' popularity, at the world's own length."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        for name in ("lengths", "exponents"):
            values = getattr(self, name)
            if len(values) < 2:
                raise InputError(f"--{name} {' '.join(map(str, values))}: give two or more")

    @property
    def points(self) -> list[tuple[str, float]]:
        """What is varied, and how far."""
        lengths, exponents = list(self.lengths), list(self.exponents)
        if self.full:
            lengths, exponents = sorted({*lengths, 1 / 6, 4, 8}), sorted({*exponents, 0.7, 1.15, 1.4, 1.7})
        return [(LENGTH, value) for value in lengths] + [(EXPONENT, value) for value in exponents]
