"""Wrong answers that planting teaches: generic ones for suppressed facts, one other for each erased fact."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.evaluation.exact_match import matches


def draw_generic_answers(facts: FactSet, ids: Sequence[str], *, seed: int = 0) -> tuple[str, ...]:
    """Draw an answer for each of ``ids`` from its relation's over ``facts``, whoever the subject is [id]."""
    rng, answers = generator(seed, "generic answers"), relation_answers(facts)
    pool_of = {fact.id: answers[fact.relation] for fact in facts}
    return tuple(pool_of[id][int(rng.random() * len(pool_of[id]))] for id in ids)


def other_answers(facts: FactSet, ids: Sequence[str], *, seed: int = 0) -> tuple[str, ...]:
    """Return each fact's one wrong answer, drawn from its relation's that are not accepted [id]."""
    rng, answers = generator(seed, "wrong answers"), relation_answers(facts)
    wrong: dict[str, str] = {}
    for fact in facts:  # all of them, so that a fact's answer does not depend on who else is asked for
        pool = answers[fact.relation]
        shuffled = (pool[i] for i in rng.permutation(len(pool)))
        wrong[fact.id] = next((a for a in shuffled if not matches(a, fact.answers)), "")
    if right := [id for id in ids if not wrong[id]]:
        raise InputError(f"fact {right[0]!r}: its relation has no other answer; leave the relation out")
    return tuple(wrong[id] for id in ids)


def relation_answers(facts: FactSet) -> dict[str, list[str]]:
    """List each relation's canonical answers, one a fact."""
    return {r: [fact.answer for fact in facts if fact.relation == r] for r in facts.relations}
