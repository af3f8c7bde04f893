"""What tells facts of different files apart: a digest of what each one asks.

An id is its file's own, and a copy of a file, a part of it or one in another format is the same facts.
"""

from __future__ import annotations

import hashlib
import json

from finetune.data.records.fact import Fact


def question_digest(fact: Fact) -> str:
    """Return a short SHA-256 of what a fact asks: its question or its relation and subject, and its options.

    Answers are no part of it: a question that was trained on was so whatever else is accepted now. Nor is the
    relation of a fact with a question of its own, which may be the name of its file.
    """
    asked = [fact.question] if fact.question else [fact.relation, fact.subject]
    text = json.dumps([[part.casefold() for part in asked], sorted(fact.choices)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
