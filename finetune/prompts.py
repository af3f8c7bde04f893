"""Prompts: a text that stops where the answer begins, with the subject's place in it.

A *form* is a template with one ``{subject}`` slot that stops before the answer, such as
``"{subject} was born in"``. Statement forms and question forms differ only in wording; what matters
for the science is which forms a model met in pretraining and which it met only in fine-tuning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from finetune.facts import Fact, InputError

SLOT = "{subject}"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A text to complete. ``subject`` is the half-open character range of the subject in ``text``."""

    text: str
    subject: tuple[int, int]
    answers: tuple[str, ...]
    fact_id: str = ""
    relation: str = ""

    def __post_init__(self) -> None:
        start, end = self.subject
        if not 0 <= start < end <= len(self.text):
            raise InputError(
                f"prompt {self.fact_id or self.text[:40]!r}: subject range {self.subject} does not lie in a "
                f"text of {len(self.text)} characters; give half-open character positions"
            )


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """How one relation is worded.

    ``statements`` and ``questions`` are the forms met in pretraining; ``asked`` is the form that
    fine-tuning teaches and that every arm is tested on.
    """

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    asked: str

    def __post_init__(self) -> None:
        for form in (*self.statements, *self.questions, self.asked):
            if form.count(SLOT) != 1:
                raise InputError(f"form {form!r}: needs exactly one {SLOT} slot")


Phrasebook = Mapping[str, Phrases]


def render(form: str, fact: Fact) -> Prompt:
    """Put a fact's subject into a form; the span comes from the slot, so it is exact by construction."""
    start = form.index(SLOT)
    return Prompt(
        text=form.replace(SLOT, fact.subject),
        subject=(start, start + len(fact.subject)),
        answers=fact.answers,
        fact_id=fact.id,
        relation=fact.relation,
    )


def question_prompt(fact: Fact) -> Prompt:
    """Take a fact's own question as the prompt's text, in NFC, with the subject's place in it.

    Raises:
        InputError: the fact has no question, or its subject does not occur in it.
    """
    question = unicodedata.normalize("NFC", fact.question or "")
    span = find_subject(fact.subject, question)
    if span is None:
        problem = f"its question {question!r} does not name it" if question else "it has no question"
        raise InputError(
            f"fact {fact.id!r}: subject {fact.subject!r}, but {problem}; give a question that does"
        )
    return Prompt(text=question, subject=span, answers=fact.answers, fact_id=fact.id, relation=fact.relation)


def find_subject(subject: str, text: str) -> tuple[int, int] | None:
    """Find a subject in a text in NFC: its half-open character range, or None.

    A whole word in the same case is preferred to one in another case, and that to a part of a word. Of
    several the last counts, for a question's own words come first ("What genre is What?").
    """
    name = re.escape(unicodedata.normalize("NFC", subject))
    for pattern, flags in ((rf"(?<!\w){name}(?!\w)", 0), (rf"(?<!\w){name}(?!\w)", re.I), (name, re.I)):
        if subject and (found := list(re.finditer(pattern, text, flags))):
            return found[-1].span()
    return None
