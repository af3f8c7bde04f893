"""Does the sign of m say where attention goes, in the one-layer model and in a deep one?

    python analyses/one_layer_theory.py --out runs/theory

One-layer model, random embeddings and orthonormal ones (for which the theory is exact):

1. Compare closed-form gradients with automatic ones.
2. Pretrain by single sightings of Zipf-distributed facts; follow each fact's salience.
3. Take one small step on each fine-tuning example; measure attention for its own subject and for subjects
   that are never trained, asked with the same question token and with other ones.
4. Fine-tune on halves by popularity, in W_KQ alone and with W_V; measure held-out subjects.

Deep model, the embedded world's base:

5. Compute m, as the proxy and exactly, for a sample of training facts.
6. Take one small step on each, on all weights and on W_Q and W_K alone; measure subject attention on its own
   prompt and on held-out subjects' prompts of the same relation.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from analyses.lab.experiment import Experiment, LabOptions, main
from analyses.lab.grid import Cell
from finetune.options import MOST, Rate, Seed, Within

if TYPE_CHECKING:
    import pandas as pd

    from analyses.theory.one_layer import Geometry, Shape
    from interp.study import Study

GEOMETRIES: tuple[Geometry, ...] = ("random", "orthonormal")
DEEP = "deep"


@dataclass(frozen=True, kw_only=True)
class Options(LabOptions):
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
        from analyses.theory.one_layer import Shape

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


def cells(options: Options) -> list[Cell]:
    """One cell per part and seed; the deep ones come first, for they may need a base."""
    return [Cell.of(seed, part=part) for part in (DEEP, *GEOMETRIES) for seed in options.seeds]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Measure one part; ``kind`` says what a row is: a gradient check, a fact, a step or a held-out fact."""
    from analyses.theory.rows import deep_rows, one_layer_rows

    part, seed = cell.params["part"], cell.seed
    if part == DEEP:
        return deep_rows(
            options, seed=seed, examples=options.sampled, watched=options.watched, rate=options.step_rate
        )
    return one_layer_rows(options, options.shape, part, seed=seed, examples=options.sampled)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the gradients' gap, and for the one-layer model and the deep one what m says and what moved."""
    from analyses.theory.numbers import summed

    return summed(frame)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    from analyses.theory.page import page

    return page(results)


EXPERIMENT = Experiment(
    name="one_layer_theory", options=Options, cells=cells, measure=measure, summarise=summarise, study=study
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("one_layer_theory"))
