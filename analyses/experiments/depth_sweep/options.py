"""Options of depth_sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from analyses.common.world_options import WorldOptions
from finetune.common.option_checks import Within


@dataclass(frozen=True, kw_only=True)
class DepthSweepOptions(WorldOptions):
    """Does the attention imbalance persist in deeper models, where, and does pattern-only recovery?"""

    out: Path = Path("runs/depth_sweep")
    """Run directory; the same command continues it."""
    depths: tuple[Annotated[int, Within(1, 1000)], ...] = ()
    """Numbers of layers (default: 1 2 4 8, with --full also 12)."""

    @property
    def chosen(self) -> tuple[int, ...]:
        """The depths to measure."""
        return self.depths or ((1, 2, 4, 8, 12) if self.full else (1, 2, 4, 8))
