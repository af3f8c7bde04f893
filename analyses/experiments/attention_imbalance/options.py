"""Options of the main job: an embedded world, real facts, or somebody's own checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

from analyses.common.options import FEWEST_FACTS, FactOptions, TrainingOptions
from analyses.common.tuned_runs import completed
from finetune.checkpoints.paths import holds_model, resolve_checkpoint
from finetune.checkpoints.precision import default_dtype, note_slow_dtype
from finetune.common.errors import InputError
from finetune.common.names import normalise_name, require_different, require_name
from finetune.common.option_checks import Seed, Within, refuse_unread
from finetune.common.origins import origin_of
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import ASKED
from finetune.data.prompt_formats import PromptFormat
from finetune.evaluation.asking_forms import Known, told_known
from finetune.training.presets import WORLDS
from finetune.training.training_format import format_of

# How bases are pretrained here, which says nothing of a given one.
PRETRAINED_HERE = ("world", "question_form", "exponent", "pretrain_steps")
# How arms are made, which says nothing of somebody's own.
MADE_HERE = (
    *PRETRAINED_HERE,
    "method",
    "tune_steps",
    "batch",
    "learning_rates",
    "keep",
    "until_loss",
    "match",
    "placebo",
)
# How a user's own checkpoints are asked.
ASKING = ("shots", "chat")


@dataclass(frozen=True, kw_only=True)
class AttentionImbalanceOptions(FactOptions, TrainingOptions):
    """Where did attention leave the subject, and what did that cost?

    With no options: an embedded world. With --facts: real facts, a base pretrained on them here, and four
    fine-tuned arms. With --facts and --base: arms of your own base (smollm2-135m, a directory). With
    --finetuned as well: measurements of your own checkpoints, no training.
    """

    out: Path = Path("runs/attention_imbalance")
    """Run directory; the same command continues it."""
    facts: str | None = None
    """A file of facts (PopQA or EntityQuestions layout, or your own table), "popqa" for the hub's, or
    "geonames" for cities and countries (docs/guide_facts.md)."""
    base: str | None = None
    """Your base model: a directory, a GGUF file, a hub id, or smollm2-135m (docs/real_models.md)."""
    checkpoints: Path | None = None
    """What popularity_splits handed on (a directory below its run's handed_on/), instead of all these."""
    finetuned: tuple[str, ...] = ()
    """Your fine-tuned checkpoints or adapters, each NAME=DIRECTORY, or a training run's checkpoint-* ones.
    What factscope tune left says its own base and facts."""
    seeds: tuple[Seed, ...] = (0,)
    """One run each; with two or more, intervals are over seeds. Your own checkpoints take one."""
    prompt_format: str = ASKED
    """How your own checkpoints are asked, {question} replaced; what factscope tune trained is asked as it was
    trained."""
    shots: Annotated[int, Within(0, 1000)] = 0
    """Solved examples of the relation in front of every question to your own checkpoints."""
    chat: bool = False
    """Ask your own checkpoints in the tokenizer's chat template."""
    known: Known = "maybe"
    """From which degree on your own base knows a fact: highly (right under every prompt), maybe (under some),
    weakly (only sampled answers are right); and specifically, likelier than for others."""

    def resolved(self) -> Self:
        """Take base and facts from what ``factscope tune`` left, and choose the dtype, where not given."""
        made = completed(self, (path for _, path in self._named))
        made.check()
        note_slow_dtype(made.dtype)
        trains_all = not made.finetuned and made.method == "full"
        if made.base is None or made.dtype or trains_all or default_dtype(made.base) == "float32":
            return made
        return replace(made, dtype="bfloat16")

    @property
    def needs_subjects(self) -> bool:
        """Whether facts must say what they are about."""
        return True

    def overlap(self, sizes: Mapping[str, int]) -> float:
        """Held-out facts per training fact, if seeds split the same facts of one base; else 0."""
        split_anew = self.facts is not None and sizes.get("train")
        return sizes["test"] / sizes["train"] if split_anew else 0.0

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        super().check()
        if self.checkpoints and (self.facts or self.base or self.finetuned):
            raise InputError("--checkpoints: brings its own facts, base and arms; leave those options out")
        if self.checkpoints and len(self.seeds) != 1:
            raise InputError("--checkpoints: is of one training; give one --seeds")
        if self.finetuned and len(self.seeds) != 1:
            raise InputError(
                "--seeds: the checkpoints of --finetuned are one training each, and intervals over seeds "
                "would say that they were several; give one, and name other trainings as further --finetuned"
            )
        if self.finetuned and not self.base:
            self._refuse_without_base()
        if self.base and not self.facts:
            raise InputError("--base: needs --facts FILE as well")
        if self.limit is not None and self.limit < FEWEST_FACTS and not self.finetuned:
            raise InputError(f"--limit {self.limit}: too few facts to split; give {FEWEST_FACTS} or more")
        if "{question}" not in self.prompt_format:
            raise InputError(f"--prompt-format {self.prompt_format}: write {{question}} where it belongs")
        self._refuse_unread()
        for name, path in self._named:
            if not name or not path:
                raise InputError(f"--finetuned {name}={path}: write NAME=DIRECTORY")
            resolve_checkpoint(path)
            require_name(name, "--finetuned", remedy="write NAME=DIRECTORY with another name")
            if normalise_name(name) == "base":
                raise InputError("--finetuned base=...: this name is taken by --base; choose another")
        require_different([name for name, _ in self._named], "--finetuned", remedy="write NAME=DIRECTORY")

    def _refuse_without_base(self) -> None:
        for _, path in self._named:
            if not Path(path).is_dir():
                raise InputError(
                    f"--finetuned {path}: no such directory; correct it (a hub id needs --base as well)"
                )
            if not holds_model(resolve_checkpoint(path)):
                raise InputError(
                    f"--finetuned {path}: holds no model; name a checkpoint, or what factscope tune left"
                )
        raise InputError(
            "--finetuned: needs --base as well, the model these were fine-tuned from (a directory of "
            "factscope tune says it itself)"
        )

    def _refuse_unread(self) -> None:
        if self.finetuned or self.checkpoints:
            given = "--finetuned" if self.finetuned else "--checkpoints"
            refuse_unread(self, MADE_HERE, f"nothing is trained with {given}; leave it out")
        elif self.base:
            refuse_unread(
                self, PRETRAINED_HERE, "is of a base that is pretrained here; leave it or --base out"
            )
        elif self.facts:
            refuse_unread(self, ("world",), "is no setting of real facts; leave it or --facts out")
        if not self.finetuned:
            how = (*ASKING, "prompt_format")
            refuse_unread(self, how, "goes with --finetuned; arms that are made here are asked alike")
        if not self.base:
            refuse_unread(self, ("known",), "goes with --base; what a base knows that is made here it states")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        checkpoints = None if self.checkpoints is None else str(self.checkpoints)
        held = {**super().config(), "checkpoints": checkpoints}
        return held if self.base else {k: v for k, v in held.items() if k not in (*ASKING, "known")}

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
        return {name: resolve_checkpoint(path) for name, path in self._named}


def asking_format(options: AttentionImbalanceOptions) -> PromptFormat:
    """Return how a user's own checkpoints are asked: as told, or else as they were trained.

    Raises:
        InputError: they were trained in different formats, and nothing is told.
    """
    told = PromptFormat(template=options.prompt_format, shots=options.shots, chat=options.chat)
    if told != PromptFormat():
        return told
    trained = {name: format_of(path) for name, path in options._named}
    formats = {style for style in trained.values() if style is not None}
    if len(formats) > 1:
        listed = "; ".join(f"{name}: {style}" for name, style in trained.items())
        raise InputError(
            f"--finetuned: these were trained in different formats ({listed}); give --prompt-format, --shots "
            "or --chat to ask all of them alike"
        )
    return next(iter(formats), told)


def subjects_known(facts: FactSet | None) -> bool:
    """Say whether facts tell what they are about; of a bare list all of a question is its subject."""
    return facts is None or any(fact.subject != fact.question for fact in facts)


def describe(options: AttentionImbalanceOptions, facts: FactSet | None) -> str:
    """Say in one sentence what was set up, for the report."""
    if options.checkpoints:
        return f"What {options.checkpoints} handed on."
    own = f" as {options.phrasebook.name} words them" if options.phrasebook else ""
    named = f"{options.base}"
    if options.base and (origin := origin_of(resolve_checkpoint(options.base))):
        named = f"{options.base} ({origin})"
    if options.finetuned:
        count = f"{len(options.own)} checkpoint{'s' if len(options.own) > 1 else ''}"
        whole = "" if subjects_known(facts) else ", whose whole questions count as their subjects"
        told = f"{count} of {named}, measured on facts from {options.facts}{own}{whole}"
        return f"{told}; {told_known(options.known)}."
    tuned = "LoRA" if options.method == "lora" else "full fine-tuning"
    showed = "showed" if options.question_form == "seen" else "never showed"
    form = f"a question form that pretraining {showed}"
    if options.base and facts is not None:
        return f"Real facts from {facts.name}{own}; {tuned} of {named}."
    if facts is None:
        preset = WORLDS[options.world]
        return f'The embedded world "{options.world}" ({preset.reason}); {tuned} on {form}.'
    return f"Real facts from {facts.name}{own}, a small base pretrained on them here; {tuned} on {form}."
