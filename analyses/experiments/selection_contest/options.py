"""Options of selection_contest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analyses.common.world_options import WorldOrFactsOptions
from analyses.experiments.selection_contest.setups import WAYS, Budget, ContestSet, Judged, Method, setups
from finetune.common.errors import InputError
from finetune.common.option_checks import Count, InnerShare


@dataclass(frozen=True, kw_only=True)
class SelectionContestOptions(WorldOrFactsOptions):
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
    def setups(self) -> tuple[ContestSet, ...]:
        """What is trained, for every seed."""
        return setups(
            full=self.full,
            method=self.method,
            scores=self.scores,
            keeps=self.keeps,
            methods=self.methods,
            budgets=self.budgets,
        )
