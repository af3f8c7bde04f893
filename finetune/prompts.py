"""Prompts: a text that stops where the answer begins, with the subject's place in it.

A *form* is a template with one ``{subject}`` slot that stops before the answer, such as
``"{subject} was born in"``. Statement forms and question forms differ only in wording; what matters
for the science is which forms a model met in pretraining and which it met only in fine-tuning.
"""

from __future__ import annotations

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
