"""Options of popularity_or_diversity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from analyses.common.world_options import WorldOptions
from finetune.common.errors import InputError
from finetune.common.option_checks import Count
from finetune.training.presets import WORLDS


@dataclass(frozen=True, kw_only=True)
class PopularityOrDiversityOptions(WorldOptions):
    """Is it popularity, or diversity of relations and answers? Why does a random half do nearly as well?"""

    out: Path = Path("runs/popularity_or_diversity")
    """Run directory; the same command continues it."""
    relations: Annotated[tuple[Count, ...], tyro.conf.arg(name="relation-counts")] = ()
    """Numbers of relations in a set (default: 1 and all five, with --full also 2 and 3)."""
    draws: Count = 8
    """How often batches are drawn for gradients, per seed."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        have = WORLDS[self.world].world.relations
        given = self.relations
        if given and (len(set(given)) < 2 or not 1 <= min(given) <= max(given) <= have):
            raise InputError(
                f"--relation-counts {' '.join(map(str, given))}: give two or more numbers between 1 and "
                f"{have}, which world {self.world} has"
            )

    @property
    def chosen(self) -> tuple[int, ...]:
        """The numbers of relations to measure."""
        have = WORLDS[self.world].world.relations
        some = self.relations or ((1, 2, 3, 5) if self.full else (1, 5))
        return tuple(sorted({min(count, have) for count in some}))
