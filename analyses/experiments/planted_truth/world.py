"""The world of planted truth: who is absent, who is rare, what is damaged, and a base pretrained on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from analyses.experiments.planted_truth.options import PlantedTruthOptions
from finetune.checkpoints.loading import load_model
from finetune.common.checksums import cached_json
from finetune.common.seeds import generator, rotate
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.data.records.fact import Fact
from finetune.data.splits import partition
from finetune.data.synthetic_world import make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.evaluation.generate import states_fact
from finetune.training.examples import sampling_weights
from finetune.training.presets import WORLDS, Preset
from finetune.training.pretrain import pretrained_base


@dataclass(frozen=True, kw_only=True)
class PlantedWorld:
    """One seed's world; ``home`` holds what its cells share.

    ``present`` and ``absent`` share no subject; ``targets`` are the ids of facts to damage by name; ``asked``
    are the diagnosed facts, and no natural fine-tuning meets their subjects. ``met`` says how often
    pretraining met each present fact, in expectation.
    """

    preset: Preset
    facts: FactSet
    present: FactSet
    absent: FactSet
    asked: FactSet
    targets: frozenset[str]
    book: Phrasebook
    met: dict[str, float]
    cache: Path
    home: Path
    seed: int

    @cached_property
    def base(self) -> Path:
        """The base, pretrained on the present subjects."""
        return pretrained_base(
            self.present,
            self.book,
            lambda _, book: word_tokenizer(self.facts, book),
            model=self.preset.base,
            text=self.preset.text,
            cache=self.cache,
            seed=self.seed,
        )

    @cached_property
    def stated(self) -> dict[str, bool]:
        """Whether the base completes every statement form of each diagnosed fact."""
        return self._stated(self.asked, "stated")

    @cached_property
    def known(self) -> FactSet:
        """The present facts that the base completes in every statement form."""
        stated = self._stated(self.present, "known")
        return select(self.present, lambda fact: stated[fact.id])

    def _stated(self, facts: FactSet, name: str) -> dict[str, bool]:
        self.home.mkdir(parents=True, exist_ok=True)

        def ask() -> dict[str, bool]:
            model, tokenizer = load_model(str(self.base))
            known = states_fact(model, tokenizer, facts, self.book)
            return {fact.id: bool(k) for fact, k in zip(facts, known, strict=True)}

        with FileLock(self.home / f"{name}.lock"):
            return dict(cached_json(self.home / f"{name}.json", ask))

    @property
    def free(self) -> FactSet:
        """Present facts of subjects that are not diagnosed: natural fine-tuning may take them."""
        taken = {fact.subject for fact in self.asked}
        return select(self.present, lambda fact: fact.subject not in taken)

    def prompts(self, facts: FactSet, *, every_form: bool = False) -> list[Prompt]:
        """Word facts as fine-tuning asks, or in every form that there is."""
        forms = {r: dict.fromkeys(p.forms if every_form else (p.asked,)) for r, p in self.book.items()}
        return [render(form, fact) for fact in facts for form in forms[fact.relation]]


def planted_world(options: PlantedTruthOptions, seed: int, run: Path) -> PlantedWorld:
    """Draw a world and deal its subjects and relations; which relations are targets changes with the seed."""
    preset = WORLDS[options.world]
    if options.pretrain_steps:
        preset = replace(preset, base=replace(preset.base, steps=options.pretrain_steps))
    facts = make_world(preset.world, seed=seed)
    parts = partition(facts, test=options.absent, validation=0.0, seed=seed)
    turned = rotate(facts.relations, seed)
    targets = set(turned[: min(len(turned) - 1, -(-len(turned) * 3 // 5))])
    weights = sampling_weights(parts.train, preset.text.exponent) * preset.base.steps * preset.base.batch
    names = list(dict.fromkeys(fact.subject for fact in facts))
    order = generator(seed, "verdict facts").permutation(len(names))
    drawn = {names[i] for i in order[: options.subjects]}
    return PlantedWorld(
        preset=preset,
        facts=facts,
        present=parts.train,
        absent=parts.test,
        asked=select(facts, lambda fact: fact.subject in drawn),
        targets=frozenset(fact.id for fact in parts.train if fact.relation in targets),
        book=world_phrasebook(question_form=options.question_form),
        met={fact.id: float(n) for fact, n in zip(parts.train, weights, strict=True)},
        cache=options.bases,
        home=run / "worlds" / str(seed),
        seed=seed,
    )


def select(facts: FactSet, wanted: Callable[[Fact], bool]) -> FactSet:
    """Return the facts that are wanted, in their order."""
    return facts.subset([i for i, fact in enumerate(facts) if wanted(fact)])
