"""The choice of training facts by a score, with a floor under every relation and answer type.

1. Of N facts floor(keep x N) are taken.
2. With a floor f, every answer type of every relation first gets its best f x keep x n facts, rounded down,
   where n is how many it has; then every relation is filled up to its own f x keep x n. So f = 0 asks for the
   best facts whatever they are about, and f = 1 for the candidates' own mix.
3. What is left of the share goes to the best facts that remain.

Equal scores are put in order by a seeded shuffle, never by the order of a file; facts without a score come
last, and are taken where the share or a floor is not filled without them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from finetune.common.errors import InputError
from finetune.common.seeds import generator
from finetune.data.facts import FactSet

Why = Literal[
    "its score",
    "its relation's share",
    "its answer type's share",
    "to fill up",
    "dropped",
    "others' shares",
    "no score",
]
KEPT = ("its score", "its relation's share", "its answer type's share", "to fill up")
COMMON = 10  # facts of a relation below which an answer is no type of its own
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which facts are taken, in the order of the facts, and why each was or was not.

    ``rank`` counts from 1, the best; a fact without a score has the last ones.
    """

    indices: Int[ndarray, " kept"]
    why: tuple[Why, ...]
    rank: Int[ndarray, " fact"]

    @property
    def kept(self) -> ndarray:
        """Which facts are taken, Bool [fact]."""
        mask = np.zeros(len(self.why), bool)
        mask[self.indices] = True
        return mask


def choose(
    values: Float[ndarray, " fact"], facts: FactSet, keep: float, *, floor: float = 0.0, seed: int = 0
) -> Choice:
    """Take the share ``keep`` of the facts whose values are largest; see the module for ``floor``.

    Args:
        values: a score a fact.
        facts: the candidates.
        keep: the share that is taken.
        floor: the share of every relation and answer type that is taken in any case (see the module).
        seed: orders equal values.

    Raises:
        InputError: shares outside their range, another number of values than of facts, or nothing taken.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep = {keep}: choose a share above 0 and at most 1")
    if not 0 <= floor <= 1:
        raise InputError(f"floor = {floor}: choose a share between 0 and 1")
    if len(values) != len(facts):
        raise InputError(f"{len(values)} scores for {len(facts)} facts; score the same facts")
    # The small term keeps a product such as 0.29 * 100 = 28.999... from losing a fact.
    size = int(keep * len(facts) + 1e-9)
    if not size:
        raise InputError(f"{facts.name}: {keep:g} of {len(facts)} facts is none; raise the share to keep")
    order = rank_facts(values, seed=seed)
    why: list[Why] = ["no score" if np.isnan(value) else "dropped" for value in values]
    if floor:
        types = answer_types(facts)
        for label, keys in (
            ("its answer type's share", [(f.relation, t) for f, t in zip(facts, types, strict=True)]),
            ("its relation's share", [fact.relation for fact in facts]),
        ):
            _guarantee(order, keys, floor * keep, why, label)  # type: ignore[arg-type]
    free = size - sum(each.endswith("share") for each in why)
    for i in [i for i in order if not why[i].endswith("share")][:free]:
        why[i] = "to fill up" if np.isnan(values[i]) else "its score"
    taken = np.flatnonzero([each in KEPT for each in why])
    rank = np.empty(len(facts), np.int64)
    rank[order] = 1 + np.arange(len(facts))
    best = [i for i in order[:size] if not np.isnan(values[i])]
    return Choice(indices=taken, why=tuple(_explain_choice(best, why)), rank=rank)


def rank_facts(values: Float[ndarray, " fact"], *, seed: int = 0) -> list[int]:
    """Order facts from the largest value to the smallest, equal ones as a seeded shuffle has them."""
    shuffle = generator(seed, "score ties").permutation(len(values))
    wanted = np.where(np.isnan(values), -np.inf, values)
    # NaN after minus infinity, which is a score.
    return np.lexsort((shuffle, -wanted, np.isnan(values))).tolist()


def answer_types(facts: FactSet) -> list[str]:
    """Say what type each answer is: the answer itself where its relation often has it, else its shape.

    Shapes are a number, a date, a name (every word that is not a particle begins with a capital), else words.
    """
    common = Counter((fact.relation, fact.answer) for fact in facts)
    return [
        fact.answer if common[fact.relation, fact.answer] >= COMMON else f"({answer_shape(fact.answer)})"
        for fact in facts
    ]


def answer_shape(answer: str) -> str:
    """Say what an answer looks like."""
    if re.fullmatch(r"[\d.,\s%-]*\d[\d.,\s%-]*", answer):
        return "a number"
    if re.search(r"\d", answer) and re.search(rf"\b({_MONTHS})\b", answer, re.I):
        return "a date"
    words = [word for word in re.findall(r"\w+", answer) if len(word) > 3] or [answer]
    return "a name" if all(word[0].isupper() for word in words) else "words"


def _guarantee(
    order: Sequence[int], keys: Sequence[Hashable], share: float, why: list[Why], label: Why
) -> None:
    """Give every group its best facts, until it has ``share`` of its own; what it has already counts."""
    sizes = Counter(keys)
    has = Counter(key for key, each in zip(keys, why, strict=True) if each.endswith("share"))
    for i in order:
        key = keys[i]
        if not why[i].endswith("share") and has[key] < int(share * sizes[key] + 1e-9):
            why[i] = label
            has[key] += 1


def _explain_choice(best: Sequence[int], why: list[Why]) -> list[Why]:
    """Say of facts that their score alone would take that it did, or that others' shares prevented it."""
    for i in best:
        if why[i].endswith("share"):
            why[i] = "its score"
        elif why[i] == "dropped":
            why[i] = "others' shares"
    return why
