"""A fact: one (subject, relation, answer) triple."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

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
        if self.choices and self.answer not in self.choices:
            raise InputError(
                f"fact {self.id!r}: answer = {self.answer!r:.80}: is not among its choices; give one that is"
            )
        if self.popularity is not None and not _is_popularity(self.popularity):
            raise InputError(
                f"fact {self.id!r}: popularity = {self.popularity!r:.40}: give a number of at least 0, "
                "or None"
            )

    @property
    def answer(self) -> str:
        """The canonical answer."""
        return self.answers[0]


def _is_popularity(value: object) -> bool:
    """Whether a value is a finite number of at least 0; of numpy's numbers too."""
    return isinstance(value, float | Real) and 0 <= float(value) < math.inf


def wrong_answers(answers: object) -> str:
    """Say what is wrong with answers that are one text, a letter each, or of which one says nothing."""
    if isinstance(answers, tuple | list) and all(isinstance(a, str) and a.strip() for a in answers):
        return ""
    return f"answers = {answers!r:.80}: give a tuple of texts, none of them blank"
