"""Options of popularity_proxies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from analyses.common.options import wordings_config
from finetune.common.errors import InputError
from finetune.common.option_checks import Count, Seed, Within, refuse_unread, require_valid
from finetune.data.phrasebooks import ASKED

_SHOWN_OR_KEPT = frozenset({"out", "quiet", "json", "color"})


@dataclass(frozen=True, kw_only=True)
class PopularityProxiesOptions:
    """Which stand-ins for popularity agree with each other?"""

    facts: str
    """Data set: popqa, or a file of facts."""
    columns: tuple[str, ...] = ()
    """What the file calls its columns, each NAME=COLUMN: subject=Name answer=Label (docs/guide_facts.md)."""
    base: str | None = None
    """The base model, a directory or a hub id, for proxies that ask it."""
    corpus: Path | None = None
    """Text or JSON lines, gzipped or not, or a directory of them, for proxies that count in it."""
    text_field: str = "text"
    """The key of the text in the corpus' JSON lines."""
    proxies: tuple[str, ...] = ()
    """Which to measure (default: all that facts, base and corpus allow)."""
    limit: Count | None = None
    """Take a random draw of so many facts."""
    shots: Annotated[int, Within(0, 1000)] = 4
    """Solved examples in front of a question, for confidence_few."""
    phrasebook: Path | None = None
    """Your own wordings of relations: a JSON, YAML, CSV or TSV file (docs/guide_facts.md)."""
    prompt_format: str = ASKED
    """How the base is asked, {question} replaced; what python -m finetune trained is asked as it was."""
    chat: bool = False
    """Ask the base in the tokenizer's chat template."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the base is loaded in."""
    seed: Seed = 0
    """Draws the examples and the placebo."""
    batch_tokens: Count = 8192
    """Bound on tokens a forward pass, hence on memory."""
    out: Path = Path("runs/popularity_proxies")
    """Run directory."""
    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the run as one JSON object and nothing else; progress goes to standard error."""
    color: bool = True
    """Colours on a terminal; NO_COLOR in the environment turns them off too."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        from analyses.experiments.popularity_proxies.proxies import PROXIES  # takes pandas and scipy along

        require_valid(self)
        if unknown := [name for name in self.proxies if name not in PROXIES]:
            raise InputError(f"--proxies {unknown[0]}: choose from {', '.join(PROXIES)}")
        if self.corpus is None:
            refuse_unread(self, ("text_field",), "goes with --corpus")
        if self.base is None:
            asking = ("shots", "phrasebook", "prompt_format", "chat", "dtype")
            refuse_unread(self, asking, "goes with --base")
        if "{question}" not in self.prompt_format:
            raise InputError(f"--prompt-format {self.prompt_format}: write {{question}} where it belongs")
        for name in ("base", "corpus"):
            if self.proxies and all(PROXIES[proxy].needs != name for proxy in self.proxies):
                refuse_unread(self, (name,), "none of the --proxies needs it; leave it out")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        told = {k: v for k, v in asdict(self).items() if k not in _SHOWN_OR_KEPT}
        corpus = None if self.corpus is None else str(self.corpus)
        return {**told, "corpus": corpus, **wordings_config(self.phrasebook)}
