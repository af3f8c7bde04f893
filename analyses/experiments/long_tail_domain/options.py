"""Options of long_tail_domain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from analyses.common.world_options import WorldOrFactsOptions
from finetune.common.errors import InputError
from finetune.common.option_checks import Positive, refuse_unread
from finetune.data.synthetic_domains import DomainConfig
from finetune.training.presets import WORLDS


@dataclass(frozen=True, kw_only=True)
class LongTailDomainOptions(WorldOrFactsOptions):
    """Does "train on the popular half" still hold in a domain whose facts are nearly all rare?"""

    out: Path = Path("runs/long_tail_domain")
    """Run directory; the same command continues it."""
    sightings: Positive = 20.0
    """How often pretraining meets the median fact of a world's domain."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.facts is None and self.exponent is not None:
            raise InputError("--exponent: goes with --facts; a world's popularity is its expected sightings")
        if self.facts is not None:
            refuse_unread(self, ("sightings",), "is a setting of a world's domain; leave it or --facts out")

    @property
    def place(self) -> str:
        """Which world is experimented on."""
        return f"world {self.world} with a domain of rare facts"

    @property
    def domain(self) -> DomainConfig:
        """Three fifths of the world's subjects and relations are general, the rest are the domain's."""
        world = WORLDS[self.world].world
        if self.full:
            world = replace(world, subjects=2 * world.subjects)
        return DomainConfig(
            world=world,
            general=world.subjects * 3 // 5,
            relations=max(1, world.relations * 3 // 5),
            sightings=self.sightings,
        )
