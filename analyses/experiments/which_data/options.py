"""Options of which_data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

from analyses.common.asking_options import AskedFactsOptions
from finetune.checkpoints.precision import default_dtype, note_slow_dtype
from finetune.common.errors import InputError
from finetune.common.option_checks import Count, PositiveShare, Share, Within
from finetune.training.config import Dtype
from interp.selection.scores import SCORES


@dataclass(frozen=True, kw_only=True)
class WhichDataOptions(AskedFactsOptions):
    """Before training: which of my facts should I train on?"""

    base: str
    """The model that is to be fine-tuned: a directory or a hub id."""
    facts: str
    """Candidates: a file (CSV, TSV, JSON, JSONL, parquet), a directory of them, or a data set of the hub."""
    out: Path = Path("chosen.csv")
    """Where the chosen rows go, in the format that its extension says; a directory for a directory."""
    share: PositiveShare = 0.5
    """Share of the facts to keep."""
    score: str | None = None
    """What to keep them by (default: the best label-free score that the facts allow)."""
    floor: Share = 1.0
    """Every relation and answer type keeps this share of what it would have in an even choice, at least."""
    also: tuple[str, ...] = ()
    """Further scores to compare with in the report and in scores.parquet."""
    dropped: Path | None = None
    """Where the other rows go."""
    report: Path | None = None
    """Directory of the report (default: named after --out)."""
    reference: str | None = None
    """Facts that the base should go on to know, for score agreement (default: candidates that it knows)."""
    shots: Annotated[int, Within(1, 1000)] = 2
    """Solved examples in front, for scores that show some."""
    batch_tokens: Count = 16_384
    """Bound on tokens a forward pass, hence on memory."""
    dtype: Dtype | None = None  # type: ignore[assignment]  # resolved before it is read
    """What the base is loaded in (default: bfloat16 where a CPU is much faster in it, else float32)."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        super().check()
        for option, name in (("--score", self.score), *(("--also", name) for name in self.also)):
            if name is not None and name not in SCORES:
                raise InputError(f"{option} {name}: choose from {', '.join(SCORES)}")

    def resolved(self) -> Self:
        """Choose the dtype, unless it is given."""
        self.check()
        note_slow_dtype(self.dtype)
        return self if self.dtype else replace(self, dtype=default_dtype(self.base))

    def config(self) -> dict[str, Any]:
        """Every setting that can change the choice, JSON-able."""
        held = {k: v for k, v in super().config().items() if k != "report"}
        if held["shots"] == 2:  # runs of before this option did the same
            del held["shots"]
        return {**held, "dropped": str(self.dropped) if self.dropped else None}

    @property
    def home(self) -> Path:
        """Where the report is."""
        return self.report or self.out.with_name(f"{self.out.stem}_report")
