"""What popularity_splits is told: data sets, models, arms, how arms are trained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from analyses.common.options import ARMS, FEWEST_FACTS, FactOptions, GridOptions
from finetune.common.errors import InputError
from finetune.common.names import require_different, require_name
from finetune.common.option_checks import (
    Count,
    CountOrNone,
    InnerShare,
    PositiveShare,
    Rate,
    ShareBelowOne,
    Within,
    refuse_unread,
)
from finetune.data.phrasebooks import ASKED
from finetune.data.prompt_formats import PromptFormat
from finetune.data.splits import Arm, Match
from finetune.training.config import LORA, Keep, Method
from finetune.training.presets import RECIPES, WORLDS

WORLD = "world:"  # in front of an embedded world's name
HERE = "small"  # the model that is pretrained here where no base is named
OWN = "views"  # the popularity that the data bring


@dataclass(frozen=True, kw_only=True)
class PopularitySplitsOptions(FactOptions, GridOptions):
    """Which facts should one fine-tune on? The paper's experiment, on any data sets and models.

    Every data set is split by popularity into arms, each arm fine-tuned by every method at every learning
    rate and seed, and asked the same held-out facts. The chosen checkpoints are handed to
    attention_imbalance and stored_or_suppressed.
    """

    out: Path = Path("runs/popularity_splits")
    """Run directory; the same command continues it."""
    yaml: Path | None = None
    """Options from a file (see docs/real_scale.md); those on the command line count more."""
    facts: tuple[str, ...] = (f"{WORLD}long-tail",)
    """Data sets, each SOURCE or NAME=SOURCE: popqa, mmlu, files, directories, hub ids, or world:NAME."""
    base: tuple[str, ...] = ()
    """Models, each SOURCE or NAME=SOURCE: directories or hub ids (default: a small one pretrained here)."""
    preset: str | None = None
    """A recipe for a known model (docs/training.md): its base, unless --base names one, and its settings."""
    popularity: str = OWN
    """The proxy that splits: views (the data's own), or one of docs/popularity.md."""
    corpus: Path | None = None
    """Text in which the proxies corpus and cooccurrence count."""
    arms: tuple[Arm, ...] = ARMS
    """Which arms are trained."""
    fractions: tuple[PositiveShare, ...] = ()
    """Shares of the training facts that an arm takes (default: 0.5, with --full also 0.3)."""
    match: Match = "none"
    """Split within relations, or within answers, so that arms have the same mix of them."""
    splits: Path | None = None
    """Another run of this script, whose partitions into train, validation and test are used."""
    test: InnerShare = 0.3
    """Share of the subjects that are held out."""
    methods: tuple[Method, ...] = ()
    """How arms are fine-tuned (default: lora, with --full also full)."""
    learning_rates: tuple[Rate, ...] = ()
    """The grid, from which validation facts choose for each arm (default: the preset's)."""
    steps: Count | None = None
    """Optimizer steps, the same for every arm (default: the preset's)."""
    epochs: Annotated[float, Within(0, 1e6, open_low=True)] | None = None
    """Passes over an arm's facts instead of --steps."""
    batch: Count | None = None
    """Facts a step, over all processes."""
    rank: Annotated[int, Within(1, 100_000)] | None = None
    """LoRA's rank."""
    alpha: Count | None = None
    """LoRA's alpha."""
    dropout: ShareBelowOne | None = None
    """LoRA's dropout."""
    targets: tuple[str, ...] = ()
    """Layers that LoRA adapts (default: all linear ones)."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Numbers that training computes in."""
    gradient_checkpointing: bool = False
    """Save memory for a third more time."""
    keep: Keep = "best"
    """Which checkpoint of an arm counts: best on validation, last, or first at a loss."""
    trajectory: CountOrNone = 0
    """Keep a checkpoint every so many steps."""
    check_every: Count | None = None
    """Measure validation facts, and what is learned of the arm's own, every so many steps."""
    last: bool = False
    """Also ask the last checkpoint, where all arms have taken equal steps, beside the kept one."""
    template: str = ASKED
    """How facts are asked; {question} is replaced."""
    shots: Annotated[int, Within(0, 1000)] = 0
    """Solved examples in front of a question."""
    test_shots: tuple[Annotated[int, Within(0, 1000)], ...] = ()
    """Further numbers of solved examples in front of held-out questions, the same ones for all of a seed."""
    measures: bool = False
    """Also measure attention to held-out subjects, and what may predict which facts survive."""
    archive: Path | None = None
    """Folder of finished cells' rows, small enough to commit: what is there is not run again."""
    chat: bool = False
    """Put questions into the model's own chat template."""
    choices: Literal["letter", "text"] = "letter"
    """How multiple-choice facts are asked: options listed and a letter wanted, or the answer's text."""
    pretrain_steps: Count | None = None
    """Override the pretraining steps of the small model."""
    anyway: bool = False
    """Train even if the estimate says that memory will not do."""
    analyse: tuple[Literal["attention", "verdicts"], ...] = ("attention", "verdicts")
    """What to hand the chosen checkpoints to; --analyse without a value: nothing."""
    analysed: Count = 2000
    """Held-out facts that these analyses look at."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere.

        Raises:
            InputError: names the setting and the remedy.
        """
        super().check()
        for name, given in (("facts", self.facts), ("arms", self.arms)):
            if not given:
                raise InputError(f"--{name}: name at least one")
        for flag, pairs in (("facts", self.sources), ("base", self.models)):
            for name, _ in pairs:
                require_name(name, f"--{flag}", remedy="write NAME=SOURCE with another name")
            require_different([name for name, _ in pairs], f"--{flag}", remedy="write NAME=SOURCE")
        for world in (source for _, source in self.sources if source.startswith(WORLD)):
            if world.removeprefix(WORLD) not in WORLDS:
                raise InputError(f"--facts {world}: choose one of {', '.join(WORLD + w for w in WORLDS)}")
            if self.base or self.preset:
                raise InputError(
                    f"--facts {world}: invented facts, which no --base or --preset has met; leave --base and "
                    "--preset out"
                )
        if self.limit is not None and self.limit < FEWEST_FACTS:
            raise InputError(f"--limit {self.limit}: too few facts to split; give {FEWEST_FACTS} or more")
        if self.steps and self.epochs:
            raise InputError("--steps and --epochs: give one of them")
        if self.last and self.keep == "loss":
            raise InputError(
                "--last and --keep loss: arms that stop at a loss have no last step in common; leave one out"
            )
        if self.last and self.trajectory:
            raise InputError("--last and --trajectory: give one of them")
        if "{question}" not in self.template:
            raise InputError(f"--template {self.template}: write {{question}} where it belongs")
        self._check_names()
        self._refuse_unread()

    def _refuse_unread(self) -> None:
        if "lora" not in self.ways:
            refuse_unread(self, LORA, "is LoRA's; add --methods lora or leave it out")
        if self.base or (self.preset and self.models[0][1]):
            refuse_unread(self, ("pretrain_steps",), "is of the small model that is made where none is given")
        if self.popularity not in ("corpus", "cooccurrence"):
            refuse_unread(self, ("corpus",), "goes with --popularity corpus or cooccurrence")
        if self.splits is not None:
            refuse_unread(self, ("test",), "--splits brings its own held-out facts; leave this out")
        if not self.analyse:
            refuse_unread(self, ("analysed",), "nothing is analysed; leave it out or name what to --analyse")

    def _check_names(self) -> None:
        from analyses.experiments.popularity_proxies.proxies import PROXIES

        if self.popularity not in PROXIES:
            raise InputError(f"--popularity {self.popularity}: choose one of {', '.join(PROXIES)}")
        if self.preset is not None and self.preset not in RECIPES:
            raise InputError(f"--preset {self.preset}: choose one of {', '.join(RECIPES)}")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {k: None if v is None else str(v) if isinstance(v, Path) else v for k, v in self._told.items()}

    @property
    def _told(self) -> dict[str, Any]:
        return {k: v for k, v in super().config().items() if k not in ("yaml", "anyway", "archive")}

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """(name, source) of every data set."""
        return tuple(_named(entry) for entry in self.facts)

    @property
    def real(self) -> tuple[str, ...]:
        """The sources of real facts."""
        return tuple(source for _, source in self.sources if not source.startswith(WORLD))

    @property
    def models(self) -> tuple[tuple[str, str | None], ...]:
        """(name, source) of every model; a small one that is pretrained here has no source."""
        if self.base:
            return tuple(_named(entry) for entry in self.base)
        if self.preset:
            recipe = RECIPES.get(self.preset)
            return ((self.preset, recipe.base),) if recipe and recipe.base else ((HERE, None),)
        return ((HERE, None),)

    @property
    def parts(self) -> tuple[float, ...]:
        """The shares of the training facts that arms take."""
        return self.fractions or ((0.3, 0.5) if self.full else (0.5,))

    @property
    def ways(self) -> tuple[Method, ...]:
        """The methods of fine-tuning."""
        return self.methods or (("lora", "full") if self.full else ("lora",))

    @property
    def asked_shots(self) -> tuple[int, ...]:
        """How many solved examples held-out questions have in front: as in training, and further numbers."""
        return tuple(dict.fromkeys((self.shots, *self.test_shots)))

    @property
    def style(self) -> PromptFormat:
        """How facts are asked."""
        return PromptFormat(template=self.template, shots=self.shots, chat=self.chat, choices=self.choices)

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        data = ", ".join(name for name, _ in self.sources)
        models = ", ".join(name for name, _ in self.models)
        return f"{data}; {models}; {' and '.join(self.ways)}; split by {self.popularity}"


def _named(entry: str) -> tuple[str, str]:
    """Split NAME=SOURCE; a source alone is named by its last part without extension."""
    name, mark, source = entry.partition("=")
    if mark:
        return name, source
    last = entry.removeprefix(WORLD).rstrip("/").rsplit("/", 1)[-1]
    stem = re.sub(r"\.(csv|tsv|jsonl?|parquet)$", "", last)
    return re.sub(r"[^\w.+-]", "_", stem), entry
