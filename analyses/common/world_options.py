"""Options of experiments that train models in embedded worlds, or on real facts instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analyses.common.options import FEWEST_FACTS, FactOptions, GridOptions, TrainingOptions
from finetune.common.errors import InputError
from finetune.training.presets import WORLDS


@dataclass(frozen=True, kw_only=True)
class WorldOptions(GridOptions, TrainingOptions):
    """Options of an experiment that trains models in embedded worlds."""

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from; none for the preset's.

        Half of an experiment's time would go into a rate that hardly ever wins: of the preset's two, the
        smaller one validates best in 11 of the main job's 12 arms (``long-tail``, three seeds).
        """
        one = self.world != "tiny" and self.method == "full" and not self.full
        return self.learning_rates or ((min(WORLDS[self.world].tune.learning_rates),) if one else ())

    @property
    def place(self) -> str:
        """Which world is experimented on."""
        return f"world {self.world}"

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        return self.told(self.place)

    def told(self, place: str) -> str:
        """Name what is experimented on, and how arms are made where it is not as usual."""
        told = [place, "LoRA" if self.method == "lora" else "full fine-tuning"]
        if self.keep != "best":
            told.append("equal steps" if self.keep == "last" else f"equal loss ({self.until_loss:g} nats)")
        if self.match != "none":
            told.append(f"{self.match} mix matched")
        return ", ".join(told)


@dataclass(frozen=True, kw_only=True)
class WorldOrFactsOptions(FactOptions, WorldOptions):
    """Options of an experiment that can also be made on real facts."""

    facts: str | None = None
    """Real facts instead of a world: a file (PopQA or EntityQuestions layout, or your own), or "popqa"."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.limit is not None and self.limit < FEWEST_FACTS:
            raise InputError(f"--limit {self.limit}: too few facts to split; give {FEWEST_FACTS} or more")

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        if self.facts is None:
            return super().setting
        own = f" as {self.phrasebook.name} words them" if self.phrasebook else ""
        return self.told(Path(self.facts).stem + own)
