"""Options that analyses share: where runs live, real facts, worlds and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from analyses.common.grid_options import Engine, Machines
from finetune.common.errors import InputError
from finetune.common.files import content_hash
from finetune.common.option_checks import Count, Positive, Rate, Seed, Within, refuse_unread, require_valid
from finetune.common.user_cache import default_cache
from finetune.data.facts import FactSet
from finetune.data.loaders.columns import mapping
from finetune.data.phrasebooks import QuestionForm, load_phrasebook, phrasebook
from finetune.data.prompts import Phrasebook
from finetune.data.splits import Arm, Match, shuffle_popularity, split
from finetune.data.templates.custom import read_templates
from finetune.training.config import Dtype, Keep

ARMS: tuple[Arm, ...] = ("top", "bottom", "random", "whole")
# Where a run is kept and what is shown of it cannot change a number.
SHOWN_OR_KEPT = frozenset({"out", "cache", "quiet", "json", "color"})
SHUFFLED = "shuffled_"  # in front of an arm that was split by shuffled popularity
World = Literal["long-tail", "well-stored", "small", "tiny"]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What is shown of an analysis."""

    quiet: bool = False
    """No progress and no table."""
    json: bool = False
    """Print the run as one JSON object and nothing else; progress goes to standard error."""
    color: bool = True
    """Colours on a terminal; NO_COLOR in the environment turns them off too."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(OutputOptions):
    """What every analysis is told."""

    out: Path = Path("runs/analysis")
    """Run directory; the same command continues it."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """One run each; with two or more, intervals are over seeds."""
    batch_tokens: Count = 8192
    """Bound on tokens a forward pass, hence on memory."""
    cache: Path | None = None
    """Where pretrained bases are kept (default: factscope in the user's cache directory)."""

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
class FactOptions(RunOptions):
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
        facts = getattr(self, "facts", None)
        return () if facts is None else (facts,)

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

            read_templates(self.phrasebook)

    def load(self, source: str, *, limit: int | None = None, subjects: bool = True) -> FactSet:
        """Load a source of :attr:`real`, its columns called as the options say."""
        return FactSet.load(source, limit=limit, columns=mapping(self.columns), subjects=subjects)

    def digests(self, *, subjects: bool = True) -> dict[str, str]:
        """Return a digest of the facts of every source of :attr:`real`, so that a changed file is noticed."""
        return {s: self.load(s, limit=self.limit, subjects=subjects).digest for s in self.real}

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {**super().config(), **wordings_config(self.phrasebook)}

    def worded(self, facts: FactSet, *, question_form: QuestionForm = "new") -> Phrasebook:
        """Word facts of :attr:`real`; own wordings may name any relation that these have.

        Raises:
            InputError: the own wordings cannot be used; see
                :func:`finetune.data.phrasebooks.load_phrasebook`.
        """
        if self.phrasebook is None:
            return phrasebook(facts, question_form=question_form)
        some = self.limit is not None or len(self.real) > 1
        named = {r for source in self.real for r in self.load(source).relations} if some else None
        return load_phrasebook(self.phrasebook, facts, question_form=question_form, relations=named)


def wordings_config(path: Path | None) -> dict[str, str | None]:
    """Return which own wordings a run has: the file, and a hash of it, so that a changed file is noticed."""
    if path is None:
        return {"phrasebook": None}
    return {"phrasebook": str(path), "phrasebook_digest": content_hash(path.expanduser())}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunOptions):
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
    batch: Count | None = None
    """Override the preset's facts a fine-tuning step."""
    dtype: Dtype | None = None
    """Numbers that arms are fine-tuned in, and those of a base of your own measured in (default: float32;
    for a wide base of your own bfloat16 where a CPU is much faster in it)."""
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
            dealt = shuffle_popularity(train, seed=seed)
            for arm in ("top", "bottom"):
                made[SHUFFLED + arm] = split(dealt, arm, seed=seed, match=self.match)  # type: ignore[arg-type]
        return made


FEWEST_FACTS = 40
MACHINES = ("engine", "workers", "address", "gpus", "retries")  # where cells run cannot change a number


@dataclass(frozen=True, kw_only=True)
class GridOptions(RunOptions):
    """How much of an experiment is run, and where."""

    full: bool = False
    """The large size: more settings, for several machines or a night."""
    engine: Engine = "local"
    """Processes of this machine, or a Ray cluster."""
    workers: Annotated[int, Within(1, 4096)] | None = None
    """How many cells run at a time (default: all cores)."""
    threads: Annotated[int, Within(1, 4096)] = 1
    """Threads of each cell; results may differ in rounding between numbers of threads, not of workers."""
    address: str | None = None
    """A running Ray cluster's address ("auto" finds one); without it Ray is started here."""
    gpus: Annotated[float, Within(0, 4096)] = 0.0
    """GPUs of each cell on a Ray cluster, or a share of one (0.25: four cells on one)."""
    retries: Annotated[int, Within(0, 1000)] = 1
    """How often a failed cell is tried again before the grid goes on without it."""

    def check(self) -> None:
        """Refuse settings that contradict each other or can lead nowhere."""
        super().check()
        if self.engine != "ray":
            refuse_unread(self, ("address", "gpus"), "goes with --engine ray")

    def config(self) -> dict[str, Any]:
        """Every setting that can change a number, JSON-able."""
        return {k: v for k, v in super().config().items() if k not in MACHINES}

    @property
    def setting(self) -> str:
        """What is experimented on, in a phrase for the page and the list of findings."""
        return ""

    @property
    def machines(self) -> Machines:
        """Where cells run."""
        return Machines(threads=self.threads, **{name: getattr(self, name) for name in MACHINES})


def given_words(config: Mapping[str, Any], options: type[Any], names: Sequence[str]) -> list[str]:
    """Return the command-line words of those of a run's settings that are not an option class's defaults."""
    usual = {field.name: field.default for field in fields(options)}
    words: list[str] = []
    for name in names:
        value = config.get(name, usual[name])
        value = tuple(value) if isinstance(value, list) else value
        if value != usual[name]:
            values = () if value is True else value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words
