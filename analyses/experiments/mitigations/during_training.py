"""Cures while training: the uncured arm's fine-tuning again, with one thing changed.

Mixes take as many more steps as they have more facts, so that the arm's own facts are seen as often. Which
checkpoint counts is chosen on all validation facts, but for the cure that is to choose it on known ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analyses.experiments.mitigations.case import MitigationCase, with_tune_config
from finetune.checkpoints.loading import load_weights
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt
from finetune.data.records.fact import Fact
from finetune.training.finished_training import Checkpoint
from finetune.training.learning_rate import select
from finetune.training.lora import linear_layers
from finetune.training.mitigations import distillation_pairs
from finetune.training.projections import ROUTING

LORA_RATE = 10  # LoRA's usual learning rate, as a multiple of full fine-tuning's


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a cure changes: the facts and their order, settings, on which facts to stop, what to distil."""

    facts: FactSet
    stages: Sequence[int] | None = None
    settings: dict[str, Any] | None = None
    stop_on_known: bool = False
    known: Sequence[tuple[Prompt, Prompt]] = ()


def _changed(**settings: Any) -> Callable[[MitigationCase], TrainingPlan]:
    """Plan the arm's own facts again, with other settings."""
    return lambda patient: TrainingPlan(facts=patient.own, settings=settings)


def _lora(patient: MitigationCase, *, routing: bool) -> TrainingPlan:
    """Plan LoRA on all linear layers, or on all but those of W_Q and W_K."""
    tune, settings = patient.bench.setting.tune, dict[str, Any]()
    if tune.method != "lora":
        rates = tuple(LORA_RATE * rate for rate in tune.learning_rates)
        settings = {"method": "lora", "learning_rates": rates}
    if not routing:
        names = {name.rsplit(".", 1)[-1] for name in linear_layers(load_weights(patient.bench.base))}
        settings["targets"] = tuple(sorted(names - set(ROUTING)))
    return TrainingPlan(facts=patient.own, settings=settings)


def _own_known_last(patient: MitigationCase) -> TrainingPlan:
    return TrainingPlan(facts=patient.own, stages=patient.known(patient.own).astype(int).tolist())


def _with_others(patient: MitigationCase, known: bool, last: bool = False) -> TrainingPlan:
    """Mix in other facts, those that the base states or the placebo's that it does not: equally many."""
    some, rest = (_of(patient.others, patient, stated=stated) for stated in (known, not known))
    drawn = generator(patient.bench.seed, "facts mixed in").permutation(len(some))[: len(rest)]
    more = [some[i] for i in sorted(drawn.tolist())]
    facts = FactSet(facts=(*patient.own, *more), name=f"{patient.own.name}, others mixed in")
    steps = round(patient.bench.setting.tune.steps_for(len(patient.own)) * len(facts) / len(patient.own))
    stages = [0] * len(patient.own) + [1] * len(more) if last else None
    return TrainingPlan(facts=facts, stages=stages, settings={"steps": steps, "epochs": None})


def _statements_distilled(patient: MitigationCase) -> TrainingPlan:
    """Keep what the base states, in the words of the statements."""
    known = _of(patient.bench.parts.train, patient, stated=True)
    return _with_lesson(patient, [(said, said) for said, _ in distillation_pairs(known, _book(patient))])


def _distilled(patient: MitigationCase, *, others: bool) -> TrainingPlan:
    """Teach the question to say what the base states, of its own facts alone or of all to train on."""
    known = _of(patient.bench.parts.train if others else patient.own, patient, stated=True)
    return _with_lesson(patient, distillation_pairs(known, _book(patient)))


def _distilled_unknown(patient: MitigationCase) -> TrainingPlan:
    """Distil questions about facts that the base does not state, as many as it does: a placebo."""
    known, unknown = (_of(patient.bench.parts.train, patient, stated=stated) for stated in (True, False))
    drawn = generator(patient.bench.seed, "unknown facts mixed in").permutation(len(unknown))[: len(known)]
    return _with_lesson(
        patient, distillation_pairs([unknown[i] for i in sorted(drawn.tolist())], _book(patient))
    )


def _distilled_of_others(patient: MitigationCase) -> TrainingPlan:
    """Teach each known fact's question what the base states of another of its relation: a placebo."""
    by_relation: dict[str, list[Fact]] = {}
    for fact in _of(patient.bench.parts.train, patient, stated=True):
        by_relation.setdefault(fact.relation, []).append(fact)
    several = [some for some in by_relation.values() if len(some) > 1]
    about = [fact for some in several for fact in some]
    others = [fact for some in several for fact in (*some[1:], some[0])]
    return _with_lesson(patient, distillation_pairs(about, _book(patient), statements_of=others))


def _with_lesson(patient: MitigationCase, known: Sequence[tuple[Prompt, Prompt]]) -> TrainingPlan:
    return TrainingPlan(facts=patient.own, settings={"distil": 1.0}, known=known)


def _book(patient: MitigationCase) -> Phrasebook:
    return patient.bench.setting.phrasebook


def _of(facts: FactSet, patient: MitigationCase, *, stated: bool) -> list[Fact]:
    """Return the facts that the base states, or those that it does not."""
    return [fact for fact in facts if (fact.id in patient.stated) == stated]


DURING: dict[str, Callable[[MitigationCase], TrainingPlan]] = {
    "W_Q and W_K frozen": _changed(qk_rate=0.0),
    "W_Q and W_K at a tenth of the rate": _changed(qk_rate=0.1),
    "LoRA on all linear layers": lambda patient: _lora(patient, routing=True),
    "LoRA without W_Q and W_K": lambda patient: _lora(patient, routing=False),
    "attention penalty": _changed(attention_penalty=1.0),
    "stopped on known facts": lambda patient: TrainingPlan(facts=patient.own, stop_on_known=True),
    "own known facts last": _own_known_last,
    "other known facts mixed in": lambda patient: _with_others(patient, True),
    "other known facts last": lambda patient: _with_others(patient, True, last=True),
    "statements distilled": _statements_distilled,
    "questions distilled": lambda patient: _distilled(patient, others=True),
    "questions distilled, own facts": lambda patient: _distilled(patient, others=False),
}
PLACEBOS: dict[str, Callable[[MitigationCase], TrainingPlan]] = {
    "other unknown facts mixed in": lambda patient: _with_others(patient, False),
    "other unknown facts last": lambda patient: _with_others(patient, False, last=True),
    "questions of unknown facts distilled": _distilled_unknown,
    "questions distilled from other subjects": _distilled_of_others,
}


def train_with_plan(patient: MitigationCase, plan: TrainingPlan, out: Path, *, name: str) -> Checkpoint:
    """Fine-tune as planned.

    Args:
        patient: the arm to train anew.
        plan: what a cure changes.
        out: a directory for all candidates.
        name: the model's name beside a progress bar.
    """
    bench = with_tune_config(patient, **(plan.settings or {}))
    validation = bench.parts.validation
    if plan.stop_on_known and (known := patient.known(validation)).any():
        validation = validation.subset(np.flatnonzero(known).tolist())
    return select(
        bench.base,
        bench.asked(plan.facts),
        bench.asked(validation),
        out,
        config=replace(bench.setting.tune),
        stages=plan.stages,
        known=plan.known,
        seed=bench.seed,
        name=name,
    )
