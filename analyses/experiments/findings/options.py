"""Options of findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from finetune.common.errors import InputError
from finetune.common.option_checks import require_valid


@dataclass(frozen=True, kw_only=True)
class FindingsOptions:
    """What was found: every claim that finished runs decide, and what studies of real models say."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories, in the order of the table."""
    studies: tuple[Path, ...] = ()
    """Archives of studies on real language models (docs/studies)."""
    out: Path = Path("docs/claims.md")
    """The page of what runs decide."""
    findings: Path = Path("docs/findings.md")
    """The page whose part between two marks is what studies found; the rest of it is written by hand."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        if not self.runs and not self.studies:
            raise InputError("no run: name the directories of finished runs")
