"""Options of popularity_proxies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from analyses.common.asking_options import AskedFactsOptions
from finetune.common.errors import InputError
from finetune.common.option_checks import Count, Within, refuse_unread


@dataclass(frozen=True, kw_only=True)
class PopularityProxiesOptions(AskedFactsOptions):
    """Which stand-ins for popularity agree with each other?"""

    facts: str
    """Data set: popqa, or a file of facts."""
    base: str | None = None
    """The base model, a directory or a hub id, for proxies that ask it."""
    corpus: Path | None = None
    """Text or JSON lines, gzipped or not, or a directory of them, for proxies that count in it."""
    text_field: str = "text"
    """The key of the text in the corpus' JSON lines."""
    proxies: tuple[str, ...] = ()
    """Which to measure (default: all that facts, base and corpus allow)."""
    shots: Annotated[int, Within(0, 1000)] = 4
    """Solved examples in front of a question, for confidence_few."""
    batch_tokens: Count = 8192
    """Bound on tokens a forward pass, hence on memory."""
    out: Path = Path("runs/popularity_proxies")
    """Run directory."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        from analyses.experiments.popularity_proxies.proxies import PROXIES  # takes pandas and scipy along

        super().check()
        if unknown := [name for name in self.proxies if name not in PROXIES]:
            raise InputError(f"--proxies {unknown[0]}: choose from {', '.join(PROXIES)}")
        if self.corpus is None:
            refuse_unread(self, ("text_field",), "goes with --corpus")
        if self.base is None:
            asking = ("shots", "phrasebook", "prompt_format", "chat", "dtype")
            refuse_unread(self, asking, "goes with --base")
        for name in ("base", "corpus"):
            if self.proxies and all(PROXIES[proxy].needs != name for proxy in self.proxies):
                refuse_unread(self, (name,), "none of the --proxies needs it; leave it out")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {**super().config(), "corpus": None if self.corpus is None else str(self.corpus)}
