"""A fact: one (subject, relation, answer) triple."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.common.errors import InputError
from finetune.common.short_repr import ShortRepr


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact(ShortRepr):
    """One (subject, relation, answer) triple.

    ``answers`` are all accepted answers, the canonical one first. ``question`` is the source's own
    wording, if it has one. ``popularity`` is any non-negative proxy for pretraining frequency. ``choices``
    are the options of a multiple-choice question in their order, the canonical answer among them.

    Examples:
        >>> fact = Fact(id="q1", subject="Ada Lovelace", relation="born", answers=("London", "London, UK"))
        >>> fact.answer
        'London'
    """

    id: str
    subject: str
    relation: str
    answers: tuple[str, ...]
    question: str | None = None
    popularity: float | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if problem := wrong_answers(self.answers):
            raise InputError(f"fact {self.id!r}: {problem}")

    @property
    def answer(self) -> str:
        """The canonical answer."""
        return self.answers[0]


def wrong_answers(answers: object) -> str:
    """Say what is wrong with answers that are one text, a letter each, or of which one says nothing."""
    if isinstance(answers, tuple | list) and all(isinstance(a, str) and a.strip() for a in answers):
        return ""
    return f"answers = {answers!r:.80}: give a tuple of texts, none of them blank"
