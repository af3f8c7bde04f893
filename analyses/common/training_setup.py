"""A training setup: one seed's facts, split by subject, the base pretrained on them, its arms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerFast

from analyses.common.options import FactOptions, TrainingOptions
from finetune.common.errors import InputError
from finetune.common.short_repr import ShortRepr
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.data.splits import Partition, partition
from finetune.data.synthetic_world import make_world, world_phrasebook
from finetune.data.tokenizers import bpe_tokenizer, word_tokenizer
from finetune.training.config import BaseConfig, CorpusConfig, TuneConfig
from finetune.training.finished_training import Checkpoint
from finetune.training.learning_rate import select
from finetune.training.presets import GIVEN_TUNE, REAL_BASE, REAL_TEXT, REAL_TUNE, WORLDS
from finetune.training.pretrain import pretrained_base
from interp.stats import TEST_OVER_TRAIN

FEWEST = 8  # facts below which an arm, the validation or the test part says nothing


@dataclass(frozen=True, kw_only=True)
class TrainingSetup(ShortRepr):
    """What a seed's arms have in common; ``parts`` share no subject."""

    setting: WorldSetting
    parts: Partition
    base: Path
    seed: int

    @property
    def overlap(self) -> float:
        """Held-out facts per training fact where seeds split the same facts of one base; else 0."""
        return 0.0 if self.setting.redrawn else len(self.parts.test) / len(self.parts.train)

    def told(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Let rows say how far the seeds' splits overlap, for intervals over seeds; no column where not."""
        return rows.assign(**{TEST_OVER_TRAIN: self.overlap}) if self.overlap else rows

    def asked(self, facts: FactSet) -> tuple[Prompt, ...]:
        """Word facts in the form that fine-tuning asks in."""
        return tuple(render(self.setting.phrasebook[fact.relation].asked, fact) for fact in facts)


def make_training_setup(setting: WorldSetting, *, cache: Path, seed: int, test: float = 0.3) -> TrainingSetup:
    """Split the facts by subject, and take the base: the given one, or one pretrained on all facts.

    Args:
        setting: the facts, their wording, and how a base is made.
        cache: a directory of pretrained bases.
        seed: of the split.
        test: the share of subjects that are held out.
    """
    parts = _parts(setting.facts, seed, test)
    if setting.checkpoint is not None:
        return TrainingSetup(setting=setting, parts=parts, base=Path(setting.checkpoint), seed=seed)
    base = pretrained_base(
        setting.facts,
        setting.phrasebook,
        setting.make_tokenizer,
        model=setting.base,
        text=setting.text,
        cache=cache,
        seed=setting.base_seed,
    )
    return TrainingSetup(setting=setting, parts=parts, base=base, seed=seed)


def fine_tune(
    setup: TrainingSetup,
    facts: FactSet,
    out: Path,
    *,
    name: str,
    stages: Sequence[int] | None = None,
    known: Sequence[tuple[Prompt, Prompt]] = (),
) -> Checkpoint:
    """Fine-tune the base on some facts at every learning rate, and take what validates best.

    Args:
        setup: the base, its validation facts and the settings.
        facts: what to train on.
        out: a directory for all candidates.
        name: the model's name beside a progress bar.
        stages: each fact's place in the order of training: the lowest come first.
        known: facts to distil, each as the base is asked it and as the model is.
    """
    return select(
        setup.base,
        setup.asked(facts),
        setup.asked(setup.parts.validation),
        out,
        config=setup.setting.tune,
        stages=stages,
        known=known,
        seed=setup.seed,
        name=name,
    )


def _parts(facts: FactSet, seed: int, test: float) -> Partition:
    parts = partition(facts, test=test, seed=seed)
    for name in ("train", "validation", "test"):
        n = len(getattr(parts, name))
        if n < FEWEST:
            raise InputError(f"{facts.name}: only {n} facts are left for the {name} part; give more facts")
    return parts


@dataclass(frozen=True, kw_only=True)
class WorldSetting(ShortRepr):
    """What one seed's run works on: facts, their wording, and how a base and its arms are made."""

    facts: FactSet
    phrasebook: Phrasebook
    make_tokenizer: Callable[[FactSet, Phrasebook], PreTrainedTokenizerFast]
    text: CorpusConfig
    base: BaseConfig
    tune: TuneConfig
    base_seed: int
    redrawn: bool = True
    """Whether each seed draws facts and base anew; else seeds split the same facts of one base."""
    checkpoint: str | None = None
    """The directory of a base that is given; then none is pretrained."""


def setting_for(
    options: TrainingOptions, facts: FactSet | None, seed: int, *, checkpoint: str | None = None
) -> WorldSetting:
    """Resolve the options for one seed.

    In a world a seed draws everything anew: facts, base, splits, fine-tuning. With real facts the base is
    trained once and a seed redraws splits and fine-tuning.

    Args:
        options: the world, and what is changed of its presets.
        facts: real facts; a world's are made without them.
        seed: of the world.
        checkpoint: a base that is given.
    """
    real = facts is not None
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
        form = options.question_form
        worded = options.worded if isinstance(options, FactOptions) else phrasebook
        book, tokenizer, base_seed = worded(facts, question_form=form), bpe_tokenizer, 0
        text, base = REAL_TEXT, REAL_BASE
        tune = GIVEN_TUNE[options.method] if checkpoint else REAL_TUNE
    if options.exponent is not None:
        text = replace(text, exponent=options.exponent)
    if options.pretrain_steps is not None:
        base = replace(base, steps=options.pretrain_steps)
    return WorldSetting(
        facts=facts,
        phrasebook=book,
        make_tokenizer=tokenizer,
        text=text,
        base=base,
        tune=_tune_with(options, tune),
        base_seed=base_seed,
        redrawn=not real,
        checkpoint=checkpoint,
    )


def _tune_with(options: TrainingOptions, tune: TuneConfig) -> TuneConfig:
    """Put the options that were given in the place of a preset's."""
    return replace(
        tune,
        method=options.method,
        steps=options.tune_steps or tune.steps,
        batch=options.batch or tune.batch,
        dtype=options.dtype or tune.dtype,
        keep=options.keep,
        until_loss=options.until_loss,
        learning_rates=options.rates or tune.learning_rates,
    )
