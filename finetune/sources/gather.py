"""From rows to a fact set: set aside what is malformed, repeated or ambiguous, then draw.

1. Each row becomes a fact or a reason. Over half without a fact is an error.
2. A fact that was there before (same subject, relation and answer) is set aside.
3. Of facts that would share one prompt but not their answer (different things of one name), the most
   popular is kept: one prompt cannot have two right answers.
4. With a limit, that many of the remaining facts are drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from finetune.facts import Fact, FactSet, InputError, LeftOut
from finetune.sources.cells import Malformed
from finetune.sources.rows import Row, Table

UNNAMED = "fact"  # the relation of a table that names none; its questions tell its facts apart


def gather(
    table: Table, to_fact: Callable[[Row], Fact], *, limit: int | None = None, seed: int = 0
) -> FactSet:
    """Make a fact set of a table's rows.

    Raises:
        InputError: over half of the rows are malformed, no fact is usable, or the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}: choose at least 1 fact, or none for all")
    facts: dict[int, Fact] = {}
    reasons: dict[int, str] = {}
    for index, row in enumerate(table.rows):
        try:
            if row.problem:
                raise Malformed(row.problem)
            facts[index] = to_fact(row)
        except Malformed as problem:
            reasons[index] = str(problem)
    _refuse_if_mostly_malformed(table, reasons)
    where = [row.where for row in table.rows]
    for rule in (_repeated, _ambiguous, _same_id):
        found = rule(facts, where)
        reasons |= found
        facts = {index: fact for index, fact in facts.items() if index not in found}
    left_out = [LeftOut(where=where[index], reason=reasons[index]) for index in sorted(reasons)]
    kept = list(facts.values())
    if limit is not None and limit < len(kept):
        drawn = np.sort(np.random.default_rng([seed, 4]).permutation(len(kept))[:limit])
        reason = f"limit: {len(kept) - limit} of {len(kept)} usable facts were not drawn (seed {seed})"
        left_out.append(LeftOut(where=table.name, reason=reason))
        kept = [kept[i] for i in drawn]
    return FactSet(facts=tuple(kept), name=table.name, left_out=tuple(left_out))


def prompt_key(fact: Fact) -> tuple[str, ...]:
    """Return what decides a fact's prompt: relation and subject, and the question if no relation is named."""
    key = (fact.relation, fact.subject)
    return (*key, fact.question) if fact.relation == UNNAMED and fact.question else key


def _refuse_if_mostly_malformed(table: Table, reasons: dict[int, str]) -> None:
    if 2 * len(reasons) > len(table.rows):
        first = "; ".join(f"{table.rows[i].where}: {reason}" for i, reason in list(reasons.items())[:3])
        raise InputError(
            f"{table.name}: {len(reasons)} of {len(table.rows)} rows are malformed ({first}); repair them"
        )


def _repeated(facts: dict[int, Fact], where: list[str]) -> dict[int, str]:
    first: dict[tuple[str, ...], int] = {}
    found = {}
    for index, fact in facts.items():
        earlier = first.setdefault((*prompt_key(fact), "", fact.answer.casefold()), index)
        if earlier != index:
            found[index] = f"duplicate of {where[earlier]}"
    return found


def _ambiguous(facts: dict[int, Fact], where: list[str]) -> dict[int, str]:
    kept: dict[tuple[str, ...], int] = {}
    for index, fact in facts.items():
        rival = kept.setdefault(prompt_key(fact), index)
        if (fact.popularity or 0.0) > (facts[rival].popularity or 0.0):
            kept[prompt_key(fact)] = index
    return {
        index: f"another fact has the same subject and relation ({where[winner]} is kept)"
        for index, fact in facts.items()
        if (winner := kept[prompt_key(fact)]) != index
    }


def _same_id(facts: dict[int, Fact], where: list[str]) -> dict[int, str]:
    first: dict[str, int] = {}
    return {
        index: f"id {fact.id!r} is already used by {where[first[fact.id]]}"
        for index, fact in facts.items()
        if first.setdefault(fact.id, index) != index
    }
