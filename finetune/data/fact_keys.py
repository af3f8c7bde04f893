"""What tells facts of different files apart: digests of what each one asks.

An id is its file's own, and a copy of a file, a part of it or one in another format is the same facts.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Sequence

from finetune.data.loaders.table import UNNAMED
from finetune.data.records.fact import Fact

_ASKED = " with a question"
_LOOSE = re.compile(r"\s+(?=[?!.,;:])")  # space that some put before a mark


def question_digests(fact: Fact) -> list[str]:
    """Return short SHA-256s of what a fact asks with its options: its question, its relation and subject.

    Answers are no part of it: a question that was trained on was so whatever else is accepted now. Of a fact
    with a question of its own the relation and subject are marked, for they may be asked other questions.
    """
    if not fact.question:
        return [_digest(fact, fact.relation, fact.subject)]
    named = [] if fact.relation == UNNAMED else [_digest(fact, fact.relation, fact.subject) + _ASKED]
    return [_digest(fact, fact.question), *named]


def is_asked(fact: Fact, digests: Collection[str]) -> bool:
    """Whether digests of facts are also of what this one asks.

    A fact with a question and one without are the same if relation and subject are; of two with questions
    these decide.
    """
    named = _digest(fact, fact.relation, fact.subject)
    if fact.question:
        as_before = _hash(fact, [fact.question])  # how former trainings wrote it
        asked = {_digest(fact, fact.question), as_before}
        return not asked.isdisjoint(digests) or (fact.relation != UNNAMED and named in digests)
    return named in digests or named + _ASKED in digests


def _digest(fact: Fact, *asked: str) -> str:
    parts = [_LOOSE.sub("", " ".join(unicodedata.normalize("NFKC", part).split())) for part in asked]
    return _hash(fact, parts)


def _hash(fact: Fact, parts: Sequence[str]) -> str:
    text = json.dumps([[part.casefold() for part in parts], sorted(fact.choices)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
