"""Options of planted_truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analyses.common.options import RunOptions
from finetune.common.option_checks import Count, InnerShare


@dataclass(frozen=True, kw_only=True)
class PlantedTruthOptions(RunOptions):
    """Is a verdict right where the truth is known by construction?"""

    out: Path = Path("runs/planted_truth")
    """Run directory; the same command continues it."""
    world: Literal["long-tail", "tiny"] = "long-tail"
    """Which embedded world; numbers of the tiny one mean nothing."""
    subjects: Count = 750
    """How many subjects to diagnose, absent ones in their share, with all their facts."""
    absent: InnerShare = 0.12
    """Share of subjects that pretraining never meets."""
    met: Count = 30
    """A fact counts as stored if pretraining met it this often and the base states it in every form."""
    alpha: InnerShare = 0.05
    """Share of facts that are not stored which may be called stored."""
    pretrain_steps: Count | None = None
    """Override the world's pretraining steps."""
    plant_steps: Count | None = None
    """Override the steps of every planting."""
