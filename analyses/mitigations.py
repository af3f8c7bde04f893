"""How does one get suppressed facts back, or keep them from being suppressed, and what does that cost?

    python analyses/mitigations.py --out runs/mitigations

1. Fine-tune on the unpopular half: the uncured arm. Diagnose which held-out facts it suppresses, once a seed.
2. Cure it: fine-tune again with one thing changed, or change its weights or its attention without training.
   How strong a cure after training is, is chosen on validation facts and its own training facts.
3. Ask cured models the suppressed facts, the rest of the held-out facts, what fine-tuning had newly taught,
   and statements. Each kind of cure has its placebo.
4. Say of each cure whether it restores half of the suppressed facts at a cost of at most two points of the
   rest, and the same of the cure that is best on the other seeds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyses.lab.experiment import Experiment, FactsOptions, main
from analyses.lab.grid import Cell
from finetune.facts import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Options(FactsOptions):
    """How does one get suppressed facts back, or keep them from being suppressed, and what does that cost?"""

    out: Path = Path("runs/mitigations")
    """Run directory; the same command continues it."""
    only: tuple[str, ...] = ()
    """Measure only cures whose names hold one of these words, beside the uncured arm (default: all)."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere."""
        super().check()
        for word in self.only:
            if not any(word in name for name in _names()):
                raise InputError(f"--only {word}: no cure's name holds it; there are {'; '.join(_names())}")

    @property
    def cures(self) -> tuple[str, ...]:
        """The cures, references and placebos to measure."""
        from analyses.curing.treating import NONE

        named = [n for n in _names() if not self.only or n == NONE or any(word in n for word in self.only)]
        return tuple(named)


def _names() -> tuple[str, ...]:
    from analyses.curing.treating import CURES, PLACEBOS, REFERENCES

    return (*REFERENCES, *CURES, *PLACEBOS)


def cells(options: Options) -> list[Cell]:
    """One cell per cure and seed; seeds vary first, so that processes do not wait for one patient."""
    return [Cell.of(seed, treatment=cure) for cure in options.cures for seed in options.seeds]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Make one cure of one seed's uncured arm and ask it everything."""
    from analyses.curing.patient import admit
    from analyses.curing.treating import NONE, rows

    patient = admit(options, cell.seed, home.parents[1])
    cure = cell.params["treatment"]
    frame = rows(patient, cure, home)
    frame["training_seconds"] = patient.seconds
    frame["verdict"] = None
    if cure == NONE:
        frame["verdict"] = frame["fact_id"].map(patient.verdicts().set_index("fact_id")["verdict"])
    frame["verdict"] = frame["verdict"].astype("string")
    return frame


def _summarise(frame: pd.DataFrame) -> dict:  # type: ignore[type-arg]
    from analyses.curing.numbers import summarise

    return summarise(frame)


def _study(frame: pd.DataFrame, results: dict):  # type: ignore[type-arg,no-untyped-def]
    from analyses.curing.page import study

    return study(frame, results)


EXPERIMENT = Experiment(
    name="mitigations", options=Options, cells=cells, measure=measure, summarise=_summarise, study=_study
)
run = EXPERIMENT.run

if __name__ == "__main__":
    sys.exit(main("mitigations"))
