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
        require_answers(self.answers, f"fact {self.id!r}")

    @property
    def answer(self) -> str:
        """The canonical answer."""
        return self.answers[0]


def require_answers(answers: object, where: str) -> None:
    """Refuse answers that are one text, whose letters would be answers each, or of which one says nothing.

    Raises:
        InputError: says what was given.
    """
    if not isinstance(answers, tuple | list) or not all(isinstance(a, str) and a.strip() for a in answers):
        raise InputError(f"{where}: answers = {answers!r:.80}: give a tuple of texts, none of them blank")
