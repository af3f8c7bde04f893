"""Options of paper_table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from finetune.common.errors import InputError
from finetune.common.option_checks import require_valid


@dataclass(frozen=True, kw_only=True)
class PaperTableOptions:
    """How right is each arm, by data set, model and method? The table of the paper, from any runs."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, or directories that hold some."""
    out: Path | None = None
    """Where to write the table: this name with .md and with .csv."""
    by: tuple[Literal["quartile", "relation", "known"], ...] = ()
    """Also within each popularity quartile, each relation, or what the base knows and does not."""
    quiet: bool = False
    """Print nothing."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        if not self.runs:
            raise InputError("no run: name run directories, such as runs/demo")
        if self.out is not None and not self.out.name:
            raise InputError(f"--out {self.out}: name a file")
