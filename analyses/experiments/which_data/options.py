"""Options of which_data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from analyses.common.options import SHOWN_OR_KEPT, wordings_config
from finetune.checkpoints.precision import default_dtype
from finetune.common.errors import InputError
from finetune.common.option_checks import Count, PositiveShare, Seed, Share, Within, require_valid
from finetune.data.phrasebooks import ASKED
from interp.selection.scores import SCORES


@dataclass(frozen=True, kw_only=True)
class WhichDataOptions:
    """Before training: which of my facts should I train on?"""

    base: str
    """The model that is to be fine-tuned: a directory or a hub id."""
    facts: str
    """Candidates: a file (CSV, TSV, JSON, JSONL, parquet), a directory of them, or a data set of the hub."""
    columns: tuple[str, ...] = ()
    """What the file calls its columns, each NAME=COLUMN: subject=Name answer=Label (docs/guide_facts.md)."""
    out: Path = Path("chosen.csv")
    """Where the chosen rows go, in the format that its extension says; a directory for a directory."""
    keep: PositiveShare = 0.5
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
    phrasebook: Path | None = None
    """Your own wordings of relations: a JSON, YAML, CSV or TSV file (docs/guide_facts.md)."""
    prompt_format: str = ASKED
    """How fine-tuning will ask, {question} replaced; by default as python -m finetune trained the base."""
    chat: bool = False
    """Ask in the tokenizer's chat template."""
    shots: Annotated[int, Within(1, 1000)] = 2
    """Solved examples in front, for scores that show some."""
    limit: Count | None = None
    """Choose among a random draw of this many facts only."""
    seed: Seed = 0
    """Decides draws: solved examples, equal scores."""
    batch_tokens: Count = 16_384
    """Bound on tokens a forward pass, hence on memory."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """What the base is loaded in (default: bfloat16 where a CPU is much faster in it, else float32)."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the run as one JSON object and nothing else; progress goes to standard error."""
    color: bool = True
    """Colours on a terminal; NO_COLOR in the environment turns them off too."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        for option, name in (("--score", self.score), *(("--also", name) for name in self.also)):
            if name is not None and name not in SCORES:
                raise InputError(f"{option} {name}: choose from {', '.join(SCORES)}")
        if "{question}" not in self.prompt_format:
            raise InputError(f"--prompt-format {self.prompt_format}: write {{question}} where it belongs")

    def resolved(self) -> Self:
        """Choose the dtype, unless it is given."""
        self.check()
        return self if self.dtype else replace(self, dtype=default_dtype(self.base))

    def config(self) -> dict[str, Any]:
        """Every setting that can change the choice, JSON-able."""
        held = {k: v for k, v in asdict(self).items() if k not in SHOWN_OR_KEPT and k != "report"}
        if held["shots"] == 2:  # runs of before this option did the same
            del held["shots"]
        return {
            **held,
            "dropped": str(self.dropped) if self.dropped else None,
            **wordings_config(self.phrasebook),
        }

    @property
    def home(self) -> Path:
        """Where the report is."""
        return self.report or self.out.with_name(f"{self.out.stem}_report")
