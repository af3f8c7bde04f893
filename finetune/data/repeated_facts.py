"""Facts that repeat another one's prompt or id: duplicates, further answers of one fact, and rivals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from finetune.common.errors import InputError
from finetune.data.loaders.table import UNNAMED, prompt_key_of
from finetune.data.records.fact import Fact
from finetune.data.row_facts import RowFacts

MOST_ANSWERS = 20  # of one prompt; more tell that nothing tells a table's rows apart


def _prompt_key(fact: Fact) -> tuple[str, ...]:
    """Return what decides a fact's prompt; see :func:`finetune.data.loaders.table.prompt_key_of`."""
    return prompt_key_of(fact.relation, fact.subject, fact.question, fact.choices)


def drop_same_prompt(found: RowFacts) -> None:
    """Keep one of the facts that share a prompt: the most popular of those that differ in their answer."""
    first: dict[str, dict[tuple[str, ...] | str, int]] = {}
    alike: dict[int, list[int]] = {}
    for index, fact in enumerate(found.facts):
        if fact is not None:
            # Most keys are a relation and a subject; a subject alone needs no tuple of its own.
            relation, subject, *more = _prompt_key(fact)
            earlier = first.setdefault(relation, {}).setdefault((subject, *more) if more else subject, index)
            if earlier != index:
                alike.setdefault(earlier, [earlier]).append(index)
    for group in alike.values():
        asked: dict[str | None, list[int]] = {}
        several = len({found.fact(index).answer.casefold() for index in group}) > 1
        for index in group:  # wordings of one fact have one answer
            asked.setdefault(found.fact(index).question if several else None, []).append(index)
        for rows in asked.values():
            answered: dict[str, int] = {}
            for index in rows:
                earlier = answered.setdefault(found.fact(index).answer.casefold(), index)
                if earlier != index:
                    _accept(found, earlier, index)
                    found.drop(index, f"duplicate of {found.where(earlier)}")
            _drop_rivals(found, list(answered.values()))


def _drop_rivals(found: RowFacts, rivals: Sequence[int]) -> None:
    """Keep the most popular of facts that share a prompt but not their answer; of equals, all answers."""
    winner = max(rivals, key=lambda index: found.fact(index).popularity or 0.0)
    popularity = found.fact(winner).popularity
    for index in rivals:
        rival = found.fact(index)
        if index == winner:
            continue
        if rival.popularity == popularity and not rival.choices:
            _accept(found, winner, index)
            found.drop(index, f"is a further answer of {found.where(winner)}")
            found.rivals += [index] if len(rivals) > MOST_ANSWERS else []
        else:
            same = _name_key(rival)
            found.drop(index, f"another fact has the same {same} ({found.where(winner)} is kept)")
            found.rivals.append(index)


def _name_key(fact: Fact) -> str:
    """Name what decides a fact's prompt by the columns that its table has."""
    if fact.choices:
        return "question and choices"
    asked = "question" if fact.question and fact.relation == UNNAMED else "subject"
    if fact.subject == fact.question:  # of a bare list of questions
        asked = "question"
    return asked if fact.relation == UNNAMED else f"{asked} and relation"


def _accept(found: RowFacts, index: int, repeated: int) -> None:
    """Let a fact accept what another one accepts, too, and be as popular as the more popular of both."""
    fact, other = found.fact(index), found.fact(repeated)
    known = {answer.casefold() for answer in fact.answers}
    more = tuple(answer for answer in other.answers if answer.casefold() not in known)
    if more:
        found.further.setdefault(index, []).extend([repeated, *found.further.pop(repeated, ())])
    counts = [each.popularity for each in (fact, other) if each.popularity is not None]
    popularity = max(counts, default=None)
    if more or popularity != fact.popularity:
        found.facts[index] = replace(fact, answers=(*fact.answers, *more), popularity=popularity)


def tell_ids_apart(found: RowFacts) -> None:
    """Put its table's name before an id of another table's; set aside what repeats one of its own.

    Where an id was made of what several facts have in common, all of them get their questions behind it.
    """
    made = Counter(fact.id for fact in found.facts if fact is not None and _is_made(fact))
    for index, fact in enumerate(found.facts):
        if fact is not None and made[fact.id] > 1 and _is_made(fact):
            found.facts[index] = replace(fact, id=f"{fact.id}/{fact.question}")
    first: dict[str, int] = {}
    for index, fact in enumerate(found.facts):
        if fact is None or first.setdefault(fact.id, index) == index:
            continue
        own, table = f"{found.table(index)}/{fact.id}", found.table(index)
        if found.table(first[fact.id]) != table and first.setdefault(own, index) == index:
            found.facts[index] = replace(fact, id=own)
        else:
            earlier = first[own if own in first else fact.id]
            found.drop(index, f"id {fact.id!r} is already used by {found.where(earlier)}")
            found.rivals.append(index)


def _is_made(fact: Fact) -> bool:
    """Whether a fact with a question has an id that was made of its relation and subject."""
    return bool(fact.question) and fact.id == f"{fact.relation}/{fact.subject}"


def refuse_if_mostly_rivals(found: RowFacts) -> None:
    """Refuse a table most of whose rows are told apart by nothing that is read."""
    ends = [*found.starts[1:], len(found.facts)]
    for first, end, name in zip(found.starts, ends, found.names, strict=True):
        mine = [index for index in found.rivals if first <= index < end]
        if 2 * len(mine) > end - first:
            some = "; ".join(f"{found.where(i)}: {found.reasons[i]}" for i in mine[:3])
            raise InputError(
                f"{name}: {len(mine)} of {end - first} rows would be set aside ({some}); give each fact an "
                "id and a prompt of its own (a column question), and several answers of one fact as a list "
                "(a column answers)"
            )
