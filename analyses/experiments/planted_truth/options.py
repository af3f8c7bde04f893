"""Options of planted_truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analyses.common.options import GridOptions
from finetune.common.option_checks import Count, CountOrNone, InnerShare

How = Literal["targeted", "natural", "noise", "interpolated", "identity"]


@dataclass(frozen=True, kw_only=True)
class PlantedTruthOptions(GridOptions):
    """Is a verdict right where the truth is known by construction?"""

    out: Path = Path("runs/planted_truth")
    """Run directory; the same command continues it."""
    world: Literal["long-tail", "tiny"] = "long-tail"
    """Which embedded world; numbers of the tiny one mean nothing."""
    question_form: Literal["new", "seen"] = "new"
    """Whether pretraining met the form that fine-tuning asks in; where it did, the base's own attention is
    nearly the answer."""
    damage: tuple[How, ...] = ()
    """Only damage of these kinds (default: all that the size has)."""
    subjects: Count = 300
    """How many subjects to diagnose, absent ones in their share, with all their facts."""
    absent: InnerShare = 0.12
    """Share of subjects that pretraining never meets."""
    met: Count = 10
    """A fact counts as stored if pretraining met it this often and the base states it in every form."""
    rare: Count = 3
    """A fact met at most this often in pretraining, and stated in no form, counts as never stored."""
    lesson_steps: tuple[CountOrNone, ...] = (10, 30, 50)
    """After how many steps of a lesson on other facts to ask lost ones again (0: no lesson)."""
    pretrain_steps: Count | None = None
    """Override the world's pretraining steps."""
    plant_steps: Count | None = None
    """Override the steps of every planting."""

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        return f"world {self.world}, a question form that pretraining {'met' if self.seen else 'never met'}"

    @property
    def seen(self) -> bool:
        """Whether pretraining met the asked form."""
        return self.question_form == "seen"
