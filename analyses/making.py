"""How bases and arms are made: the options that every analysis which trains has, and what they come to."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from finetune.facts import FactSet, InputError
from finetune.files import fingerprint
from finetune.options import Count, Positive, Rate, Seed, Within, refuse_unread, require_valid
from finetune.popularity import Arm, Match, shuffled, split
from finetune.presets import REAL_BASE, REAL_TEXT, REAL_TUNE, WORLDS
from finetune.sources.columns import mapping
from finetune.train import Keep

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerFast

    from finetune.examples import CorpusConfig
    from finetune.phrasebooks import QuestionForm
    from finetune.pretrain import BaseConfig
    from finetune.prompts import Phrasebook
    from finetune.train import TuneConfig

ARMS: tuple[Arm, ...] = ("top", "bottom", "random", "whole")
# Where a run is kept and what is shown of it cannot change a number.
SHOWN_OR_KEPT = frozenset({"out", "cache", "quiet", "json", "color"})
SHUFFLED = "shuffled_"  # in front of an arm that was split by shuffled popularity
World = Literal["long-tail", "well-stored", "small", "tiny"]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every analysis is told."""

    out: Path = Path("runs/analysis")
    """Run directory; the same command continues it."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """One run each; with two or more, intervals are over seeds."""
    batch_tokens: Count = 8192
    """Bound on tokens a forward pass, hence on memory."""
    cache: Path | None = None
    """Where pretrained bases are kept (default: factscope in the user's cache directory)."""
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
        require_valid(self)
        if not self.seeds:
            raise InputError("--seeds: give one or more different numbers")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {k: v for k, v in asdict(self).items() if k not in SHOWN_OR_KEPT}

    @property
    def bases(self) -> Path:
        """Where pretrained bases are kept."""
        return self.cache or default_cache()


@dataclass(frozen=True, kw_only=True)
class RealFacts(Common):
    """How many real facts an analysis takes, and how they are worded; ``facts`` is each analysis' own."""

    limit: Count | None = None
    """Keep a random draw of this many facts (of each data set)."""
    columns: tuple[str, ...] = ()
    """What the file calls its columns, each NAME=COLUMN: subject=Name answer=Label (docs/guide_facts.md)."""
    phrasebook: Path | None = None
    """Your own wordings of relations: a JSON, YAML, CSV or TSV file (docs/guide_facts.md); with --facts."""

    @property
    def real(self) -> tuple[str, ...]:
        """The sources of real facts; none where facts are invented."""
        raise NotImplementedError

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if mapping(self.columns) and not self.real:
            raise InputError("--columns: names the columns of real facts; goes with --facts")
        if not self.real:
            refuse_unread(self, ("limit",), "goes with --facts")
        if self.phrasebook is not None:
            if not self.real:
                raise InputError(f"--phrasebook {self.phrasebook}: words real facts; goes with --facts")
            from finetune.wordings.own import read_templates

            read_templates(self.phrasebook)

    def load(self, source: str, *, limit: int | None = None, subjects: bool = True) -> FactSet:
        """Load a source of :attr:`real`, its columns called as the options say."""
        return FactSet.load(source, limit=limit, columns=mapping(self.columns), subjects=subjects)

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {**super().config(), **wordings_config(self.phrasebook)}

    def worded(self, facts: FactSet, *, question_form: QuestionForm = "new") -> Phrasebook:
        """Word facts of :attr:`real`; own wordings may name any relation that these have.

        Raises:
            InputError: the own wordings cannot be used; see :func:`finetune.phrasebooks.load_phrasebook`.
        """
        from finetune.phrasebooks import load_phrasebook, phrasebook

        if self.phrasebook is None:
            return phrasebook(facts, question_form=question_form)
        some = self.limit is not None or len(self.real) > 1
        named = {r for source in self.real for r in self.load(source).relations} if some else None
        return load_phrasebook(self.phrasebook, facts, question_form=question_form, relations=named)


def wordings_config(path: Path | None) -> dict[str, str | None]:
    """Return which own wordings a run has: the file, and a hash of it, so that a changed file is noticed."""
    if path is None:
        return {"phrasebook": None}
    return {"phrasebook": str(path), "phrasebook_digest": fingerprint(path.expanduser())}


@dataclass(frozen=True, kw_only=True)
class Making(Common):
    """How bases and arms are made."""

    world: World = "long-tail"
    """Which embedded world."""
    method: Literal["full", "lora"] = "full"
    """How arms are fine-tuned."""
    question_form: Literal["new", "seen"] = "new"
    """Whether the base met the fine-tuning question form in pretraining ("seen" shows the null)."""
    exponent: Annotated[float, Within(-10, 10)] | None = None
    """Pretraining draws a fact with weight popularity^exponent (default: 1 in worlds, 0.5 for real facts)."""
    pretrain_steps: Count | None = None
    """Override the preset's pretraining steps."""
    tune_steps: Count | None = None
    """Override the preset's fine-tuning steps."""
    learning_rates: tuple[Rate, ...] = ()
    """Override the preset's learning-rate grid."""
    keep: Keep = "best"
    """Which checkpoint of an arm counts: best on validation, last (equal steps), or first at a loss."""
    until_loss: Positive = 1.0
    """With --keep loss: the loss on training answers (nats) at which every arm stops."""
    match: Match = "none"
    """Split within relations, or within answers, so that arms have the same mix of them."""
    placebo: bool = False
    """Also train the halves of shuffled popularity, which differ by chance alone."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.keep != "loss":
            refuse_unread(self, ("until_loss",), "goes with --keep loss")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from; none for the preset's."""
        return self.learning_rates

    def arms(self, train: FactSet, *, seed: int) -> dict[str, FactSet]:
        """Split training facts into the four arms and, on demand, the placebo's halves."""
        made = {str(arm): split(train, arm, seed=seed, match=self.match) for arm in ARMS}
        if self.placebo:
            dealt = shuffled(train, seed=seed)
            for arm in ("top", "bottom"):
                made[SHUFFLED + arm] = split(dealt, arm, seed=seed, match=self.match)  # type: ignore[arg-type]
        return made


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
    redrawn: bool = True
    """Whether each seed draws facts and base anew; else seeds split the same facts of one base."""


def default_cache() -> Path:
    """Return the user's cache directory for pretrained bases."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "factscope"


def setting_for(options: Making, facts: FactSet | None, seed: int) -> Setting:
    """Resolve the options for one seed.

    In a world a seed draws everything anew: facts, base, splits, fine-tuning. With real facts the base is
    trained once and a seed redraws splits and fine-tuning.
    """
    from finetune.vocabulary import bpe_tokenizer, word_tokenizer
    from finetune.world import make_world, world_phrasebook

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
        from finetune.phrasebooks import phrasebook

        form = options.question_form
        worded = options.worded if isinstance(options, RealFacts) else phrasebook
        book, tokenizer, base_seed = worded(facts, question_form=form), bpe_tokenizer, 0
        text, base, tune = REAL_TEXT, REAL_BASE, REAL_TUNE
    if options.exponent is not None:
        text = replace(text, exponent=options.exponent)
    if options.pretrain_steps is not None:
        base = replace(base, steps=options.pretrain_steps)
    tune = replace(
        tune,
        method=options.method,
        steps=options.tune_steps or tune.steps,
        keep=options.keep,
        until_loss=options.until_loss,
    )
    if options.rates:
        tune = replace(tune, learning_rates=options.rates)
    return Setting(
        facts=facts,
        phrasebook=book,
        make_tokenizer=tokenizer,
        text=text,
        base=base,
        tune=tune,
        base_seed=base_seed,
        redrawn=not real,
    )
