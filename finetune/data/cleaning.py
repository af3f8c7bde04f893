"""Cleaning of fact tables: what is malformed, repeated or ambiguous is set aside, then facts are drawn.

1. Each row becomes a fact or a reason. A table with over half of its rows without a fact is an error.
2. A fact that was there before (same subject, relation and answer) is set aside; the larger popularity is
   kept, and what either accepts is right.
3. Of facts that would share one prompt but not their answer, the most popular is kept (different things of
   one name). Where none is more popular, they are answers of one fact, the first one's canonical. A subject's
   questions that differ are facts of their own, and so are multiple-choice questions whose options differ,
   whatever the order of these. With over half of a table's rows set aside so it is refused.
4. Ids that occur in several tables get their table's name in front.
5. With a limit, that many of the remaining facts are drawn: each as likely, or evenly over log-popularity.

A million rows are held once: a row is let go when its fact is made, unless it has to be kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from finetune.common.errors import InputError, LeftOut
from finetune.common.seeds import generator
from finetune.data.facts import FactSet
from finetune.data.loaders.records import Row, Table
from finetune.data.loaders.scalars import Malformed
from finetune.data.records.fact import Fact
from finetune.data.repeated_facts import drop_same_prompt, refuse_if_mostly_rivals, tell_ids_apart
from finetune.data.row_facts import RowFacts

BINS = 20  # of log-popularity, where a draw is to cover it evenly
Reader = Callable[[Row], Fact]


def build_fact_set(name: str, tables: Sequence[tuple[Table, Reader]], **how: Any) -> FactSet:
    """Make a fact set of the rows of one or more tables, as :func:`build_traced_set` does."""
    return build_traced_set(name, tables, **how)[0]


def build_traced_set(
    name: str,
    tables: Sequence[tuple[Table, Reader]],
    *,
    left_out: Sequence[LeftOut] = (),
    limit: int | None = None,
    seed: int = 0,
    evenly: bool = False,
) -> tuple[FactSet, list[list[int]]]:
    """Make a fact set of the rows of one or more tables, and say which rows each fact is of.

    Rows that are in a list are taken out of it, one after another.

    Args:
        name: the set's name.
        tables: tables, each with what reads a fact from its row.
        left_out: what was set aside before.
        limit: keep a random draw of that many.
        seed: of that draw.
        evenly: draw evenly over log-popularity.

    Returns:
        The set; and each fact's row number, over all tables, before those that it has further answers of.

    Raises:
        InputError: over half of a table's rows are malformed, no fact is usable, or the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}: choose at least 1 fact, or none for all")
    found = _read(tables)
    drop_same_prompt(found)
    tell_ids_apart(found)
    refuse_if_mostly_rivals(found)
    aside = [
        *left_out,
        *(LeftOut(where=found.where(i), reason=reason) for i, reason in sorted(found.reasons.items())),
    ]
    rows = [i for i, fact in enumerate(found.facts) if fact is not None]
    if not (kept := [found.fact(i) for i in rows]):
        raise InputError(f"{name}: holds no usable fact; give rows with a subject and an answer")
    if limit is not None and limit < len(kept):
        order = generator(seed, "limit of facts").permutation(len(kept))
        drawn = np.sort(_spread(kept, order, limit) if evenly else order[:limit])
        how = ", evenly over log-popularity" if evenly else ""
        reason = f"limit: {len(kept) - limit} of {len(kept)} usable facts were not drawn (seed {seed}{how})"
        aside.append(LeftOut(where=name, reason=reason, usable=True))
        kept, rows = [kept[i] for i in drawn], [rows[i] for i in drawn]
    wordings = {table.relation: table.wording for table, _ in tables if table.relation and table.wording}
    facts = FactSet(facts=tuple(kept), name=name, left_out=tuple(aside), wordings=wordings)
    return facts, [[i, *found.further.get(i, ())] for i in rows]


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


def _read(tables: Sequence[tuple[Table, Reader]]) -> RowFacts:
    found = RowFacts()
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


def _refuse_if_mostly_malformed(table: Table, found: RowFacts, first: int, malformed: int) -> None:
    rows = len(found.facts) - first
    if 2 * malformed > rows:
        some = [f"{found.where(i)}: {reason}" for i, reason in found.reasons.items() if i >= first][:3]
        raise InputError(
            f"{table.name}: {malformed} of {rows} rows are malformed ({'; '.join(some)}); repair them"
        )
