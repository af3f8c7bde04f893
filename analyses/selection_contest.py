"""Which score of the base's own chooses training facts best, and is a half of them better than all?

    python analyses/selection_contest.py --out runs/contest
    python analyses/selection_contest.py --facts popqa.tsv --out runs/contest-popqa
    python analyses/selection_contest.py --domain --out runs/contest-domain
    python analyses/selection_contest.py --relations 1 --out runs/contest-one-relation

1. Score every training fact at the base by each score of :mod:`interp.selection`.
2. Keep a share of the facts by each score; fine-tune on it for as many steps as on all of them, and in some
   cells for as many epochs.
3. Ask the held-out facts, and give verdicts to those that halves, or all facts, lose.
4. Compare with the popular share, with all facts, and with the placebos: a random share, and scores dealt out
   anew within each relation.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.choosing.settings import WAYS, WHOLE, Budget, Judged, Method, Setup, setups
from analyses.lab.experiment import Experiment, FactsOptions, main
from analyses.lab.grid import Cell
from finetune.facts import InputError
from finetune.options import Count, InnerShare

if TYPE_CHECKING:
    import pandas as pd

    from interp.study import Study


@dataclass(frozen=True, kw_only=True)
class Options(FactsOptions):
    """Which score of the base's own chooses training facts best, and is a half of them better than all?"""

    out: Path = Path("runs/selection_contest")
    """Run directory; the same command continues it."""
    scores: tuple[str, ...] = ()
    """Scores to compare (default: those that small bases can be scored by; with --full all)."""
    keeps: tuple[InnerShare, ...] = ()
    """Shares of the facts to keep by every score (default: 0.5, of some scores also 0.1 and 0.25)."""
    methods: tuple[Method, ...] = ()
    """How to fine-tune (default: --method, and some scores with LoRA too; with --full all with both)."""
    budgets: tuple[Budget, ...] = ()
    """As many steps as on all facts, or as many epochs (default: steps, for some scores both)."""
    domain: bool = False
    """In a domain whose facts are nearly all rare (see long_tail_domain)."""
    relations: Count | None = None
    """Only facts of so many relations, the largest ones."""
    verdicts: Judged = "halves"
    """Whose lost facts to say of what became of them: all halves', or the most compared ones'."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        for name in self.scores:
            if name not in WAYS:
                raise InputError(f"--scores {name}: choose from {', '.join(WAYS)}")

    @property
    def place(self) -> str:
        """Which world is experimented on, and how much of it."""
        told = f"world {self.world}" + (" with a domain of rare facts" if self.domain else "")
        return told + (f", {self.relations} of its relations" if self.relations else "")

    @property
    def setups(self) -> tuple[Setup, ...]:
        """What is trained, for every seed."""
        return setups(
            full=self.full,
            method=self.method,
            scores=self.scores,
            keeps=self.keeps,
            methods=self.methods,
            budgets=self.budgets,
        )


def cells(options: Options) -> list[Cell]:
    """One cell per set, method, budget and seed; seeds vary first, so that no two processes score at once."""
    return [
        Cell.of(seed, score=s.score, keep=s.keep, method=s.method, budget=s.budget)
        for s in options.setups
        for seed in options.seeds
    ]


def measure(options: Options, cell: Cell, home: Path) -> pd.DataFrame:
    """Fine-tune on the facts that one score keeps, and ask the held-out ones."""
    from analyses.bench import tune
    from analyses.choosing.contested import asked, bench_of, kept, scored, with_verdicts

    setup = Setup(**cell.params)
    run = home.parents[1]
    bench = bench_of(options, setup, cell.seed)
    facts, overlap = kept(bench, scored(options, bench, run / "scores"), setup)
    arm = tune(bench, facts, home / "arm", name=cell.key)
    frame = asked(bench, arm.path, home)
    if setup.is_judged(options.verdicts):
        frame = with_verdicts(frame, bench, arm.path, home / "verdicts.json", options.batch_tokens)
    return frame.assign(size=len(facts), popular=overlap, step=arm.step, training_loss=arm.training_loss)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return each set's accuracy, what it is ahead of popular, random and all facts by, and its verdicts."""
    from analyses.choosing.numbers import summed

    return summed(frame)


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and curves."""
    from analyses.choosing.contest_page import page

    return page(results)


EXPERIMENT = Experiment(
    name="selection_contest",
    options=Options,
    cells=cells,
    measure=measure,
    summarise=summarise,
    study=study,
)
run = EXPERIMENT.run
__all__ = ["EXPERIMENT", "WHOLE", "Options", "cells", "run"]

if __name__ == "__main__":
    sys.exit(main("selection_contest"))
