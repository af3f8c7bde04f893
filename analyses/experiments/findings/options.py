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
    """What was found, in one table: every claim that finished runs decide."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories, in the order of the table (default: what the page says of runs stays)."""
    studies: tuple[Path, ...] = ()
    """Archives of studies on real language models (docs/studies), whose sections come first."""
    out: Path = Path("docs/findings.md")
    """The page to write."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        if not self.runs and not self.studies:
            raise InputError("no run: name the directories of finished runs")
