"""Cleaning of fact tables: what is malformed, repeated or ambiguous is set aside, then facts are drawn.

1. Each row becomes a fact or a reason. A table with over half of its rows without a fact is an error.
2. A fact that was there before (same subject, relation and answer) is set aside.
3. Of facts that would share one prompt but not their answer (different things of one name), the most
   popular is kept: one prompt cannot have two right answers. A multiple-choice question is told apart by
   its options too, whatever their order.
4. With a limit, that many of the remaining facts are drawn: each as likely, or evenly over log-popularity.

A million rows are held once: a row is let go when its fact is made, unless it has to be kept.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from finetune.common.errors import InputError, LeftOut
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.loaders.records import Row, Table, place
from finetune.data.loaders.scalars import Malformed
from finetune.data.loaders.table import UNNAMED, prompt_key_of
from finetune.data.records.fact import Fact

BINS = 20  # of log-popularity, where a draw is to cover it evenly
Reader = Callable[[Row], Fact]


def build_fact_set(
    name: str,
    tables: Sequence[tuple[Table, Reader]],
    *,
    left_out: Sequence[LeftOut] = (),
    limit: int | None = None,
    seed: int = 0,
    evenly: bool = False,
) -> FactSet:
    """Make a fact set of the rows of one or more tables.

    Rows that are in a list are taken out of it, one after another.

    Args:
        name: the set's name.
        tables: tables, each with what reads a fact from its row.
        left_out: what was set aside before.
        limit: keep a random draw of that many.
        seed: of that draw.
        evenly: draw evenly over log-popularity.

    Raises:
        InputError: over half of a table's rows are malformed, no fact is usable, or the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}: choose at least 1 fact, or none for all")
    found = _read(tables)
    _drop_same_prompt(found)
    _drop_same_id(found)
    aside = [
        *left_out,
        *(LeftOut(where=found.where(i), reason=reason) for i, reason in sorted(found.reasons.items())),
    ]
    kept = [fact for fact in found.facts if fact is not None]
    if not kept:
        raise InputError(f"{name}: holds no usable fact; give rows with a subject and an answer")
    if limit is not None and limit < len(kept):
        order = generator(seed, "limit of facts").permutation(len(kept))
        drawn = np.sort(_spread(kept, order, limit) if evenly else order[:limit])
        how = ", evenly over log-popularity" if evenly else ""
        reason = f"limit: {len(kept) - limit} of {len(kept)} usable facts were not drawn (seed {seed}{how})"
        aside.append(LeftOut(where=name, reason=reason, usable=True))
        kept = [kept[i] for i in drawn]
    wordings = {table.relation: table.wording for table, _ in tables if table.relation and table.wording}
    return FactSet(facts=tuple(kept), name=name, left_out=tuple(aside), wordings=wordings)


def _spread(facts: Sequence[Fact], order: np.ndarray, limit: int) -> np.ndarray:
    """Take facts in ``order`` so that bins of equal width in log-popularity get equal numbers.

    What a bin lacks the others share.
    """
    logs = np.log1p([fact.popularity or 0.0 for fact in facts])
    edges = np.linspace(logs.min(), logs.max(), BINS + 1)[1:-1]
    # The first of every bin come first, then the second of every bin, and so on.
    bins, taken = np.digitize(logs, edges)[order], Counter[int]()
    turns = []
    for each in bins.tolist():
        turns.append(taken[each])
        taken[each] += 1
    return order[np.argsort(turns, kind="stable")[:limit]]


def prompt_key(fact: Fact) -> tuple[str, ...]:
    """Return what decides a fact's prompt; see :func:`finetune.data.loaders.table.prompt_key_of`."""
    return prompt_key_of(fact.relation, fact.subject, fact.question, fact.choices)


@dataclass(kw_only=True)
class _RowFacts:
    """The fact of each row of all tables, or the reason why it has none, and where each row stands."""

    facts: list[Fact | None] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    lines: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def where(self, index: int) -> str:
        """Say where a row stands."""
        return place(self.names[bisect_right(self.starts, index) - 1], self.lines[index], self.numbers[index])

    def drop(self, index: int, reason: str) -> None:
        """Set a row's fact aside."""
        self.facts[index], self.reasons[index] = None, reason


def _read(tables: Sequence[tuple[Table, Reader]]) -> _RowFacts:
    found = _RowFacts()
    for table, to_fact in tables:
        rows, first, malformed = table.rows, len(found.facts), 0
        if not len(rows):
            continue
        found.names.append(table.name)
        found.starts.append(first)
        consumed: list[Any] | None = rows if isinstance(rows, list) else None
        for i in range(len(rows)):
            row = rows[i]
            if consumed is not None:
                consumed[i] = None
            found.lines.append(row.line)
            found.numbers.append(row.number)
            found.facts.append(None)
            try:
                if row.problem:
                    raise Malformed(row.problem)
                found.facts[-1] = to_fact(row)
            except Malformed as problem:
                found.reasons[first + i] = str(problem)
                malformed += 1
        _refuse_if_mostly_malformed(table, found, first, malformed)
    return found


def _refuse_if_mostly_malformed(table: Table, found: _RowFacts, first: int, malformed: int) -> None:
    rows = len(found.facts) - first
    if 2 * malformed > rows:
        some = [f"{found.where(i)}: {reason}" for i, reason in found.reasons.items() if i >= first][:3]
        raise InputError(
            f"{table.name}: {malformed} of {rows} rows are malformed ({'; '.join(some)}); repair them"
        )


def _drop_same_prompt(found: _RowFacts) -> None:
    """Keep one of the facts that share a prompt: the most popular of those that differ in their answer."""
    first: dict[str, dict[tuple[str, ...] | str, int]] = {}
    alike: dict[int, list[int]] = {}
    for index, fact in enumerate(found.facts):
        if fact is not None:
            # Most keys are a relation and a subject; a subject alone needs no tuple of its own.
            relation, subject, *more = prompt_key(fact)
            earlier = first.setdefault(relation, {}).setdefault((subject, *more) if more else subject, index)
            if earlier != index:
                alike.setdefault(earlier, [earlier]).append(index)
    for group in alike.values():
        answered: dict[str, int] = {}
        for index in group:
            earlier = answered.setdefault(_fact(found, index).answer.casefold(), index)
            if earlier != index:
                _accept_answers(found, earlier, _fact(found, index).answers)
                found.drop(index, f"duplicate of {found.where(earlier)}")
        rivals = list(answered.values())
        winner = max(rivals, key=lambda index: _fact(found, index).popularity or 0.0)
        for index in rivals:
            if index != winner:
                same = _name_key(_fact(found, index))
                found.drop(index, f"another fact has the same {same} ({found.where(winner)} is kept)")


def _name_key(fact: Fact) -> str:
    """Name what decides a fact's prompt by the columns that its table has."""
    if fact.choices:
        return "question and choices"
    asked = "question" if fact.question and fact.relation == UNNAMED else "subject"
    if fact.subject == fact.question:  # of a bare list of questions
        asked = "question"
    return asked if fact.relation == UNNAMED else f"{asked} and relation"


def _accept_answers(found: _RowFacts, index: int, answers: Sequence[str]) -> None:
    """Let a fact accept what its duplicate accepts, too."""
    fact = _fact(found, index)
    known = {answer.casefold() for answer in fact.answers}
    if more := tuple(answer for answer in answers if answer.casefold() not in known):
        found.facts[index] = replace(fact, answers=(*fact.answers, *more))


def _drop_same_id(found: _RowFacts) -> None:
    first: dict[str, int] = {}
    for index, fact in enumerate(found.facts):
        if fact is not None and first.setdefault(fact.id, index) != index:
            found.drop(index, f"id {fact.id!r} is already used by {found.where(first[fact.id])}")


def _fact(found: _RowFacts, index: int) -> Fact:
    fact = found.facts[index]
    assert fact is not None
    return fact
