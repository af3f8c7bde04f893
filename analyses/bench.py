"""A bench: one seed's facts, split by subject, the base pretrained on them, and arms fine-tuned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyses.making import Setting
from finetune.facts import FactSet, InputError
from finetune.popularity import Partition, partition
from finetune.prompts import Prompt, render
from interp.stats import TEST_OVER_TRAIN

if TYPE_CHECKING:
    import pandas as pd

    from finetune.train import Checkpoint

FEWEST = 8  # facts below which an arm, the validation or the test part says nothing


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a seed's arms have in common; ``parts`` share no subject."""

    setting: Setting
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


def make_bench(
    setting: Setting, *, cache: Path, seed: int, corpus: FactSet | None = None, test: float = 0.3
) -> Bench:
    """Split the facts by subject and pretrain the base on all of them, or take it from the cache.

    ``corpus`` is what pretraining meets instead, where that is more or less than the facts at hand; ``test``
    is the share of subjects that are held out.
    """
    from finetune.pretrain import pretrained_base

    parts = _parts(setting.facts, seed, test)
    base = pretrained_base(
        setting.facts if corpus is None else corpus,
        setting.phrasebook,
        setting.make_tokenizer,
        model=setting.base,
        text=setting.text,
        cache=cache,
        seed=setting.base_seed,
    )
    return Bench(setting=setting, parts=parts, base=base, seed=seed)


def tune(
    bench: Bench,
    facts: FactSet,
    out: Path,
    *,
    name: str,
    stages: Sequence[int] | None = None,
    known: Sequence[tuple[Prompt, Prompt]] = (),
) -> Checkpoint:
    """Fine-tune the base on some facts at every learning rate, and take what validates best."""
    from finetune.select import select

    return select(
        bench.base,
        bench.asked(facts),
        bench.asked(bench.parts.validation),
        out,
        config=bench.setting.tune,
        stages=stages,
        known=known,
        seed=bench.seed,
        name=name,
    )


def _parts(facts: FactSet, seed: int, test: float) -> Partition:
    parts = partition(facts, test=test, seed=seed)
    for name in ("train", "validation", "test"):
        n = len(getattr(parts, name))
        if n < FEWEST:
            raise InputError(f"{facts.name}: only {n} facts are left for the {name} part; give more facts")
    return parts
