"""Options of one_layer_theory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from analyses.common.world_options import WorldOptions
from finetune.common.option_checks import MOST, Rate, Seed, Within

if TYPE_CHECKING:
    from analyses.experiments.one_layer_theory.toy_model import Shape


@dataclass(frozen=True, kw_only=True)
class OneLayerTheoryOptions(WorldOptions):
    """Does the sign of m say where attention goes, in the one-layer model and in a deep one?"""

    out: Path = Path("runs/one_layer_theory")
    """Run directory; the same command continues it."""
    seeds: tuple[Seed, ...] = (0, 1, 2, 3, 4)
    """One run each; with two or more, intervals are over seeds."""
    examples: Annotated[int, Within(10, MOST)] | None = None
    """How many fine-tuning examples a step is taken on (default: 150, with --full 600)."""
    step_rate: Rate = 1e-5
    """The single step's learning rate in the deep model (at 1e-3 attention moves by ten points)."""

    @property
    def shape(self) -> Shape:
        """The one-layer world's size."""
        from analyses.experiments.one_layer_theory.toy_model import Shape

        if self.world == "tiny":
            return Shape(subjects=40, relations=2, answers=5, width=32, sightings=800, tune_steps=40)
        return Shape(subjects=400, sightings=16000) if self.full else Shape()

    @property
    def sampled(self) -> int:
        """How many examples a step is taken on."""
        return self.examples or (12 if self.world == "tiny" else 600 if self.full else 150)

    @property
    def watched(self) -> int:
        """How many held-out prompts of each relation are measured after a deep step."""
        return 5 if self.world == "tiny" else 20
