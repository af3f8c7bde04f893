"""Options of commands that ask a base a table of facts: which table, its wording, and how it is asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analyses.common.options import SHOWN_OR_KEPT, OutputOptions, wordings_config
from finetune.common.errors import InputError
from finetune.common.option_checks import Count, Seed, require_valid
from finetune.data.phrasebooks import ASKED
from finetune.data.prompt_formats import PromptFormat
from finetune.training.config import Dtype


@dataclass(frozen=True, kw_only=True)
class AskedFactsOptions(OutputOptions):
    """A table of facts and how a base is asked them; ``facts`` and ``base`` are each analysis' own."""

    columns: tuple[str, ...] = ()
    """What the file calls its columns, each NAME=COLUMN: subject=Name answer=Label (docs/guide_facts.md)."""
    limit: Count | None = None
    """Take a random draw of this many facts only."""
    phrasebook: Path | None = None
    """Your own wordings of relations: a JSON, YAML, CSV or TSV file (docs/guide_facts.md)."""
    prompt_format: str = ASKED
    """How the base is asked, {question} replaced; what python -m finetune trained is asked as it was."""
    chat: bool = False
    """Ask the base in the tokenizer's chat template."""
    dtype: Dtype = "float32"
    """What the base is loaded in."""
    seed: Seed = 0
    """Decides draws: of facts, of solved examples and placebos, and between equal scores."""

    def check(self) -> None:
        """Refuse settings that can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        require_valid(self)
        if "{question}" not in self.prompt_format:
            raise InputError(f"--prompt-format {self.prompt_format}: write {{question}} where it belongs")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        held = {k: v for k, v in asdict(self).items() if k not in SHOWN_OR_KEPT}
        return {**held, **wordings_config(self.phrasebook)}

    @property
    def style(self) -> PromptFormat:
        """How questions are put, solved examples aside."""
        return PromptFormat(template=self.prompt_format, chat=self.chat)
