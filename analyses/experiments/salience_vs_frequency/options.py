"""Options of salience_vs_frequency."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analyses.common.world_options import WorldOrFactsOptions
from finetune.common.errors import InputError
from finetune.data.synthetic_world import LevelsConfig

DEFAULT = LevelsConfig()
FULL = LevelsConfig(subjects=36)
TINY = LevelsConfig(sightings=tuple(2.0**k for k in range(2, 9)), subjects=12, answers=5, relations=2)


@dataclass(frozen=True, kw_only=True)
class SalienceVsFrequencyOptions(WorldOrFactsOptions):
    """Which facts survive fine-tuning: those met often, or those that the base's own values hold strongly?"""

    out: Path = Path("runs/salience_vs_frequency")
    """Run directory; the same command continues it."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.facts is None and self.exponent is not None:
            raise InputError("--exponent: goes with --facts; a world's levels are its expected sightings")

    @property
    def place(self) -> str:
        """Which world is experimented on."""
        return "world in levels of frequency"

    @property
    def levels(self) -> LevelsConfig:
        """The world's levels of frequency."""
        return TINY if self.world == "tiny" else FULL if self.full else DEFAULT
