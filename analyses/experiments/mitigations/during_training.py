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
    return lambda case: TrainingPlan(facts=case.own, settings=settings)


def _lora(case: MitigationCase, *, routing: bool) -> TrainingPlan:
    """Plan LoRA on all linear layers, or on all but those of W_Q and W_K."""
    tune, settings = case.setup.setting.tune, dict[str, Any]()
    if tune.method != "lora":
        rates = tuple(LORA_RATE * rate for rate in tune.learning_rates)
        settings = {"method": "lora", "learning_rates": rates}
    if not routing:
        names = {name.rsplit(".", 1)[-1] for name in linear_layers(load_weights(case.setup.base))}
        settings["targets"] = tuple(sorted(names - set(ROUTING)))
    return TrainingPlan(facts=case.own, settings=settings)


def _own_known_last(case: MitigationCase) -> TrainingPlan:
    return TrainingPlan(facts=case.own, stages=case.known(case.own).astype(int).tolist())


def _with_others(case: MitigationCase, known: bool, last: bool = False) -> TrainingPlan:
    """Mix in other facts, those that the base states or the placebo's that it does not: equally many."""
    some, rest = (_of(case.others, case, stated=stated) for stated in (known, not known))
    drawn = generator(case.setup.seed, "facts mixed in").permutation(len(some))[: len(rest)]
    more = [some[i] for i in sorted(drawn.tolist())]
    facts = FactSet(facts=(*case.own, *more), name=f"{case.own.name}, others mixed in")
    steps = round(case.setup.setting.tune.steps_for(len(case.own)) * len(facts) / len(case.own))
    stages = [0] * len(case.own) + [1] * len(more) if last else None
    return TrainingPlan(facts=facts, stages=stages, settings={"steps": steps, "epochs": None})


def _statements_distilled(case: MitigationCase) -> TrainingPlan:
    """Keep what the base states, in the words of the statements."""
    known = _of(case.setup.parts.train, case, stated=True)
    return _with_lesson(case, [(said, said) for said, _ in distillation_pairs(known, _book(case))])


def _distilled(case: MitigationCase, *, others: bool) -> TrainingPlan:
    """Teach the question to say what the base states, of its own facts alone or of all to train on."""
    known = _of(case.setup.parts.train if others else case.own, case, stated=True)
    return _with_lesson(case, distillation_pairs(known, _book(case)))


def _distilled_unknown(case: MitigationCase) -> TrainingPlan:
    """Distil questions about facts that the base does not state, as many as it does: a placebo."""
    known, unknown = (_of(case.setup.parts.train, case, stated=stated) for stated in (True, False))
    drawn = generator(case.setup.seed, "unknown facts mixed in").permutation(len(unknown))[: len(known)]
    return _with_lesson(case, distillation_pairs([unknown[i] for i in sorted(drawn.tolist())], _book(case)))


def _distilled_of_others(case: MitigationCase) -> TrainingPlan:
    """Teach each known fact's question what the base states of another of its relation: a placebo."""
    by_relation: dict[str, list[Fact]] = {}
    for fact in _of(case.setup.parts.train, case, stated=True):
        by_relation.setdefault(fact.relation, []).append(fact)
    several = [some for some in by_relation.values() if len(some) > 1]
    about = [fact for some in several for fact in some]
    others = [fact for some in several for fact in (*some[1:], some[0])]
    return _with_lesson(case, distillation_pairs(about, _book(case), statements_of=others))


def _with_lesson(case: MitigationCase, known: Sequence[tuple[Prompt, Prompt]]) -> TrainingPlan:
    return TrainingPlan(facts=case.own, settings={"distil": 1.0}, known=known)


def _book(case: MitigationCase) -> Phrasebook:
    return case.setup.setting.phrasebook


def _of(facts: FactSet, case: MitigationCase, *, stated: bool) -> list[Fact]:
    """Return the facts that the base states, or those that it does not."""
    return [fact for fact in facts if (fact.id in case.stated) == stated]


DURING: dict[str, Callable[[MitigationCase], TrainingPlan]] = {
    "W_Q and W_K frozen": _changed(qk_rate=0.0),
    "W_Q and W_K at a tenth of the rate": _changed(qk_rate=0.1),
    "LoRA on all linear layers": lambda case: _lora(case, routing=True),
    "LoRA without W_Q and W_K": lambda case: _lora(case, routing=False),
    "attention penalty": _changed(attention_penalty=1.0),
    "stopped on known facts": lambda case: TrainingPlan(facts=case.own, stop_on_known=True),
    "own known facts last": _own_known_last,
    "other known facts mixed in": lambda case: _with_others(case, True),
    "other known facts last": lambda case: _with_others(case, True, last=True),
    "statements distilled": _statements_distilled,
    "questions distilled": lambda case: _distilled(case, others=True),
    "questions distilled, own facts": lambda case: _distilled(case, others=False),
}
PLACEBOS: dict[str, Callable[[MitigationCase], TrainingPlan]] = {
    "other unknown facts mixed in": lambda case: _with_others(case, False),
    "other unknown facts last": lambda case: _with_others(case, False, last=True),
    "questions of unknown facts distilled": _distilled_unknown,
    "questions distilled from other subjects": _distilled_of_others,
}


def train_with_plan(case: MitigationCase, plan: TrainingPlan, out: Path, *, name: str) -> Checkpoint:
    """Fine-tune as planned.

    Args:
        case: the arm to train anew.
        plan: what a cure changes.
        out: a directory for all candidates.
        name: the model's name beside a progress bar.
    """
    setup = with_tune_config(case, **(plan.settings or {}))
    validation = setup.parts.validation
    if plan.stop_on_known and (known := case.known(validation)).any():
        validation = validation.subset(np.flatnonzero(known).tolist())
    return select(
        setup.base,
        setup.asked(plan.facts),
        setup.asked(validation),
        out,
        config=replace(setup.setting.tune),
        stages=plan.stages,
        known=plan.known,
        seed=setup.seed,
        name=name,
    )
