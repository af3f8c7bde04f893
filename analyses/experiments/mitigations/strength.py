"""How strong a cure to take: chosen on validation facts and on the arm's own training facts, never on test.

Of all strengths that lose at most two points of the validation facts that the base does not state, and at
most two of the arm's own training facts that it does not, the one that answers most of the validation facts
that it does; none at all is a strength too. For comparison also the one that does so whatever it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from analyses.experiments.mitigations.case import MitigationCase
from finetune.data.prompts import Prompt

ALLOWED = 0.02  # of the rest, which a cure may cost
Ask = Callable[[Sequence[Prompt]], Bool[ndarray, " prompt"] | Float[ndarray, " prompt"]]
T = TypeVar("T")
StrengthChoice = tuple[dict[str, Any], T | None]  # what is told of it, and itself


@dataclass(frozen=True, kw_only=True)
class ValidationScores:
    """Accuracy on known and on other validation facts, and on own training facts that were new."""

    known: float
    other: float
    new: float

    def admissible(self, before: ValidationScores) -> bool:
        """Whether no more than is allowed is lost of the rest."""
        return min(self.other - before.other, self.new - before.new) >= -ALLOWED - 1e-9


@dataclass(frozen=True, kw_only=True)
class ValidationSelector:
    """The facts on which strengths are compared."""

    validation: tuple[Prompt, ...]
    known: Bool[ndarray, " fact"]
    new: tuple[Prompt, ...]

    @classmethod
    def of(cls, case: MitigationCase) -> ValidationSelector:
        """Take a case's validation facts, and its own training facts that the base does not state."""
        own, validation = case.asked_of_own, case.setup.parts.validation
        new = own.subset(np.flatnonzero(~case.known(own)).tolist())
        return cls(
            validation=case.setup.asked(validation),
            known=case.known(validation),
            new=case.setup.asked(new),
        )

    def marks(self, ask: Ask) -> ValidationScores:
        """Mark a model; a part without facts counts as 0, and facts whose answer is missing do not count."""
        right = ask(self.validation)
        return ValidationScores(
            known=_mean(right[self.known]), other=_mean(right[~self.known]), new=_mean(ask(self.new))
        )


def strongest(
    candidates: Iterable[tuple[dict[str, Any], T]],
    ask: Callable[[T], Ask],
    judge: ValidationSelector,
    none: Ask,
) -> tuple[StrengthChoice[T], StrengthChoice[T]]:
    """Return the best candidate at the allowed cost, and at any: the first of equals, None for no cure.

    Args:
        candidates: what is told of each strength, and the strength.
        ask: returns how a model cured with it answers.
        judge: the facts on which they are compared.
        none: how the uncured model answers.
    """
    before = judge.marks(none)
    no_cure: StrengthChoice[T] = {"strength": "none"}, None
    best = {True: (before.known, no_cure), False: (before.known, no_cure)}
    for told, candidate in candidates:
        marks = judge.marks(ask(candidate))
        for limited in (True, False):
            if marks.known > best[limited][0] and (marks.admissible(before) or not limited):
                best[limited] = (marks.known, (told, candidate))
    return best[True][1], best[False][1]


def _mean(values: ndarray) -> float:
    there = values[~np.isnan(values.astype(float))]
    return float(there.mean()) if len(there) else 0.0
