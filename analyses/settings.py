"""The three ways in, made one: an embedded world, real facts, or somebody's own checkpoints."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetune.facts import FactSet, InputError
from finetune.popularity import Arm
from finetune.presets import REAL_BASE, REAL_TEXT, REAL_TUNE, WORLDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerFast

    from finetune.examples import CorpusConfig
    from finetune.pretrain import BaseConfig
    from finetune.prompts import Phrasebook
    from finetune.train import TuneConfig

FEWEST_FACTS = 40
ARMS: tuple[Arm, ...] = ("top", "bottom", "random", "whole")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where did attention leave the subject, and what did that cost?

    With no options: an embedded world. With --facts: real facts, a base pretrained on them here, and four
    fine-tuned arms. With --base and --finetuned: measurements of your own checkpoints, no training.
    """

    out: Path = Path("runs/attention_imbalance")
    """Run directory; the same command continues it."""
    facts: str | None = None
    """A file of facts (PopQA or EntityQuestions layout, or your own table), or "popqa" for the hub's."""
    base: str | None = None
    """Your base model: a directory or a hub id."""
    finetuned: tuple[str, ...] = ()
    """Your fine-tuned checkpoints or adapters, each NAME=DIRECTORY, or a training run's checkpoint-* ones."""
    world: Literal["long-tail", "well-stored", "tiny"] = "long-tail"
    """Which embedded world."""
    method: Literal["full", "lora"] = "full"
    """How arms are fine-tuned."""
    seeds: tuple[int, ...] = (0,)
    """One run each; with two or more, intervals are over seeds."""
    question_form: Literal["new", "seen"] = "new"
    """Whether the base met the fine-tuning question form in pretraining ("seen" shows the null)."""
    exponent: float | None = None
    """Pretraining draws a fact with weight popularity^exponent (default: 1 in worlds, 0.5 for real facts)."""
    limit: int | None = None
    """Keep a random draw of this many facts."""
    pretrain_steps: int | None = None
    """Override the preset's pretraining steps."""
    tune_steps: int | None = None
    """Override the preset's fine-tuning steps."""
    learning_rates: tuple[float, ...] = ()
    """Override the preset's learning-rate grid."""
    prompt_format: str = "Question: {question} Answer:"
    """How your own checkpoints were asked; {question} is replaced."""
    batch_tokens: int = 8192
    """Bound on tokens a forward pass, hence on memory."""
    cache: Path | None = None
    """Where pretrained bases are kept (default: factscope in the user's cache directory)."""
    quiet: bool = False
    """No progress and no table."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        if self.finetuned and not self.base:
            raise InputError("--finetuned: needs --base as well (the model these were fine-tuned from)")
        if self.base and not (self.finetuned and self.facts):
            raise InputError("--base: needs --finetuned NAME=DIRECTORY and --facts FILE as well")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"--seeds {' '.join(map(str, self.seeds))}: give one or more different numbers")
        if self.limit is not None and self.limit < FEWEST_FACTS and not self.base:
            raise InputError(f"--limit {self.limit}: too few facts to split; give {FEWEST_FACTS} or more")
        if "{question}" not in self.prompt_format:
            raise InputError(f"--prompt-format {self.prompt_format}: write {{question}} where it belongs")
        for name in ("batch_tokens", "limit", "pretrain_steps", "tune_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} {value}: give a positive number")
        names = [name for name, _ in self._named]
        for name, path in self._named:
            if not name or not path:
                raise InputError(f"--finetuned {name}={path}: write NAME=DIRECTORY")
            if name == "base":
                raise InputError("--finetuned base=...: this name is taken by --base; choose another")
            if names.count(name) > 1:
                raise InputError(f"--finetuned: two checkpoints are called {name}; write NAME=DIRECTORY")

    @property
    def _named(self) -> list[tuple[str, str]]:
        """(name, path) of every --finetuned; a path alone is named by its last part, steps in order."""
        pairs = [
            (entry.split("=", 1)[0], entry.split("=", 1)[1]) if "=" in entry else (Path(entry).name, entry)
            for entry in self.finetuned
        ]
        step = {name: int(m[1]) for name, _ in pairs if (m := re.fullmatch(r"checkpoint-(\d+)", name))}
        return sorted(pairs, key=lambda pair: step.get(pair[0], -1))

    @property
    def own(self) -> dict[str, str]:
        """The user's own checkpoints by name; empty when arms are trained here."""
        return dict(self._named)

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        skipped = {"out", "cache", "quiet"}
        return {k: v for k, v in asdict(self).items() if k not in skipped}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one seed's run works on: facts, their wording, and how a base and its arms are made."""

    facts: FactSet
    phrasebook: Phrasebook
    make_tokenizer: Callable[[FactSet, Phrasebook], PreTrainedTokenizerFast]
    text: CorpusConfig
    base: BaseConfig
    tune: TuneConfig
    base_seed: int


def default_cache() -> Path:
    """Return the user's cache directory for pretrained bases."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "factscope"


def load_facts(options: Options) -> FactSet | None:
    """Load the user's facts, or return None for a world, whose facts each seed draws anew."""
    if options.facts is None:
        return None
    return FactSet.load(options.facts, limit=options.limit)


def setting_for(options: Options, facts: FactSet | None, seed: int) -> Setting:
    """Resolve the options for one seed.

    In a world a seed draws everything anew: facts, base, splits, fine-tuning. With real facts the base is
    trained once and a seed redraws splits and fine-tuning.
    """
    from finetune.vocabulary import bpe_tokenizer, word_tokenizer
    from finetune.world import make_world, world_phrasebook

    if facts is None:
        preset = WORLDS[options.world]
        facts = make_world(preset.world, seed=seed)
        text, base, tune = preset.text, preset.base, preset.tune
        book, tokenizer, base_seed = (
            world_phrasebook(question_form=options.question_form),
            word_tokenizer,
            seed,
        )
    else:
        from finetune.phrasebooks import phrasebook

        book, tokenizer, base_seed = phrasebook(facts, question_form=options.question_form), bpe_tokenizer, 0
        text, base, tune = REAL_TEXT, REAL_BASE, REAL_TUNE
    if options.exponent is not None:
        text = replace(text, exponent=options.exponent)
    if options.pretrain_steps is not None:
        base = replace(base, steps=options.pretrain_steps)
    tune = replace(tune, method=options.method, steps=options.tune_steps or tune.steps)
    if options.learning_rates:
        tune = replace(tune, learning_rates=options.learning_rates)
    return Setting(
        facts=facts,
        phrasebook=book,
        make_tokenizer=tokenizer,
        text=text,
        base=base,
        tune=tune,
        base_seed=base_seed,
    )


def describe(options: Options, facts: FactSet | None) -> str:
    """Say in one sentence what was set up, for the report."""
    if options.base:
        return f"{len(options.own)} checkpoints of {options.base}, measured on facts from {options.facts}."
    tuned = "LoRA" if options.method == "lora" else "full fine-tuning"
    showed = "showed" if options.question_form == "seen" else "never showed"
    form = f"a question form that pretraining {showed}"
    if facts is None:
        preset = WORLDS[options.world]
        return f'The embedded world "{options.world}" ({preset.reason}); {tuned} on {form}.'
    return f"Real facts from {facts.name}, a small base pretrained on them here; {tuned} on {form}."
