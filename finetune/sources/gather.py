"""From rows to a fact set: set aside what is malformed, repeated or ambiguous, then draw.

1. Each row becomes a fact or a reason. A table with over half of its rows without a fact is an error.
2. A fact that was there before (same subject, relation and answer) is set aside.
3. Of facts that would share one prompt but not their answer (different things of one name), the most
   popular is kept: one prompt cannot have two right answers. A multiple-choice question is told apart by
   its options too, whatever their order.
4. With a limit, that many of the remaining facts are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from finetune.facts import Fact, FactSet, InputError, LeftOut
from finetune.sources.cells import Malformed
from finetune.sources.rows import Row, Table

_ALIKE = {False: "subject and relation", True: "question and choices"}
Reader = Callable[[Row], Fact]
UNNAMED = "fact"  # the relation of a table that names none; its questions tell its facts apart


def gather(
    name: str,
    tables: Sequence[tuple[Table, Reader]],
    *,
    left_out: Sequence[LeftOut] = (),
    limit: int | None = None,
    seed: int = 0,
) -> FactSet:
    """Make a fact set of the rows of one or more tables; ``left_out`` was set aside before.

    Raises:
        InputError: over half of a table's rows are malformed, no fact is usable, or the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}: choose at least 1 fact, or none for all")
    facts, reasons, where = _read(tables)
    for rule in (_repeated, _ambiguous, _same_id):
        found = rule(facts, where)
        reasons |= found
        facts = {index: fact for index, fact in facts.items() if index not in found}
    aside = [*left_out, *(LeftOut(where=where[index], reason=reasons[index]) for index in sorted(reasons))]
    kept = list(facts.values())
    if limit is not None and limit < len(kept):
        drawn = np.sort(np.random.default_rng([seed, 4]).permutation(len(kept))[:limit])
        reason = f"limit: {len(kept) - limit} of {len(kept)} usable facts were not drawn (seed {seed})"
        aside.append(LeftOut(where=name, reason=reason))
        kept = [kept[i] for i in drawn]
    return FactSet(facts=tuple(kept), name=name, left_out=tuple(aside))


def prompt_key(fact: Fact) -> tuple[str, ...]:
    """Return what decides a fact's prompt: relation, subject, and options if there are any.

    If no relation is named, its question decides too.
    """
    if fact.choices:
        return (fact.relation, fact.subject, fact.question or "", *sorted(fact.choices))
    key = (fact.relation, fact.subject)
    return (*key, fact.question) if fact.relation == UNNAMED and fact.question else key


def _read(tables: Sequence[tuple[Table, Reader]]) -> tuple[dict[int, Fact], dict[int, str], list[str]]:
    """Return facts and reasons by the row's place among all rows, and where each row stands."""
    facts: dict[int, Fact] = {}
    reasons: dict[int, str] = {}
    where: list[str] = []
    for table, to_fact in tables:
        malformed: list[str] = []
        for row in table.rows:
            try:
                if row.problem:
                    raise Malformed(row.problem)
                facts[len(where)] = to_fact(row)
            except Malformed as problem:
                reasons[len(where)] = str(problem)
                malformed.append(f"{row.where}: {problem}")
            where.append(row.where)
        _refuse_if_mostly_malformed(table, malformed)
    return facts, reasons, where


def _refuse_if_mostly_malformed(table: Table, malformed: Sequence[str]) -> None:
    if 2 * len(malformed) > len(table.rows):
        raise InputError(
            f"{table.name}: {len(malformed)} of {len(table.rows)} rows are malformed "
            f"({'; '.join(malformed[:3])}); repair them"
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
        index: f"another fact has the same {_ALIKE[bool(fact.choices)]} ({where[winner]} is kept)"
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
