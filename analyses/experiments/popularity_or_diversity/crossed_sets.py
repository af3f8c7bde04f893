"""Sets of one size in which popularity, relations and answers are crossed; disjoint batches for gradients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from finetune.common.errors import InputError
from finetune.common.seeds import generator, rotate
from finetune.data.facts import FactSet

COMMONEST = 3  # answers a relation that a set of few answers has
FEW, ALL = "few", "all"
BATCH = 256  # facts whose mean gradient is taken
SMALLEST = 8  # facts below which a set or a batch says nothing


def rotate_relations(relations: Sequence[str], count: int, *, seed: int) -> tuple[str, ...]:
    """Take ``count`` relations, beginning with another one for each seed; more hold what fewer do."""
    return tuple(rotate(relations, seed))[:count]


def commonest(facts: FactSet, relation: str, count: int = COMMONEST) -> tuple[str, ...]:
    """Return a relation's commonest answers, of equally common ones the first in the alphabet."""
    counts = Counter(fact.answer for fact in facts if fact.relation == relation)
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer))[:count])


def largest_size(train: FactSet, pools: Mapping[str, FactSet]) -> int:
    """Return how many facts the smallest cell of the cross can have: few answers of any one relation.

    Raises:
        InputError: that is too few to fine-tune on.
    """
    sizes = {
        (pool, relation): len(_eligible(train, facts, relation, FEW))
        for pool, facts in pools.items()
        for relation in train.relations
    }
    (pool, relation), size = min(sizes.items(), key=lambda item: item[1])
    if size < SMALLEST:
        raise InputError(
            f"{train.name}: only {size} {pool} facts of {relation!r} have one of its {COMMONEST} commonest "
            "answers; give more facts"
        )
    return size


def draw_set(
    train: FactSet, pool: FactSet, relations: Sequence[str], answers: str, *, size: int, seed: int
) -> FactSet:
    """Draw facts of a pool, each relation its equal share, with few answers or all.

    Which answers are a relation's commonest is counted in all training facts, so that it is the same for
    every pool. Shares that do not come out even give the first relations one fact more.

    Args:
        train: all training facts.
        pool: the facts to draw from.
        relations: those to draw, in order.
        answers: whether a relation has few answers or all.
        size: how many facts to draw.
        seed: of the draw.

    Raises:
        InputError: a relation has too few facts.
    """
    chosen = []
    for i, relation in enumerate(relations):
        wanted = size // len(relations) + (i < size % len(relations))
        places = _eligible(train, pool, relation, answers)
        if len(places) < wanted:
            raise InputError(
                f"{pool.name}: has {len(places)} facts of {relation!r} with {answers} answers, "
                f"and {wanted} are to be drawn; give more facts"
            )
        rng = generator(seed, "crossed set", train.relations.index(relation), answers == FEW)
        chosen += sorted(places[k] for k in rng.permutation(len(places))[:wanted])
    return replace(pool.subset(chosen), name=f"{pool.name}, {len(relations)} relations, {answers} answers")


def batches(top: FactSet, bottom: FactSet, *, seed: Sequence[int], size: int = BATCH) -> dict[str, FactSet]:
    """Draw two batches each of popular, unpopular and random facts, no fact in two of them.

    The random ones are drawn from what the others left, of which both halves have equally many.

    Args:
        top: the popular half.
        bottom: the unpopular half.
        seed: of the draws.
        size: facts of a batch; a sixth of all where that is less.

    Raises:
        InputError: too few facts for batches that say anything.
    """
    half = min(len(top), len(bottom))
    size = min(size, half // 3)
    if size < SMALLEST:
        raise InputError(f"{top.name}: {2 * half} facts make batches of {size}; give more facts")
    rng = generator(seed, "gradient batches")
    ups, downs = ([part[i] for i in rng.permutation(len(part))[:half]] for part in (top, bottom))
    rest = [*ups[2 * size :], *downs[2 * size :]]
    mixed = [rest[i] for i in rng.permutation(len(rest))]
    parts = {"popular": ups, "unpopular": downs, "random": mixed}
    return {
        f"{name}{number}": FactSet(facts=tuple(some[number * size - size : number * size]), name=name)
        for name, some in parts.items()
        for number in (1, 2)
    }


def _eligible(train: FactSet, pool: FactSet, relation: str, answers: str) -> list[int]:
    allowed = set(commonest(train, relation)) if answers == FEW else None
    return [
        i
        for i, fact in enumerate(pool)
        if fact.relation == relation and (allowed is None or fact.answer in allowed)
    ]
