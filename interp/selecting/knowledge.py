"""How well a base knows candidate facts: log-probabilities of answers, and whether it is right consistently.

Every function returns Float [fact], higher = better known, NaN where a fact's prompt does not fit the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from finetune.confidence import of_statements, zero_shot
from finetune.evaluate import names_of
from finetune.formats import fitting
from finetune.prompts import render
from finetune.tokens import tokenize_with_answer
from interp.selecting.consistency import MAYBE, UNKNOWN, WEAKLY, classified, said

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray
    from torch import Tensor

    from finetune.facts import FactSet
    from finetune.prompts import Prompt
    from interp.selecting.candidates import Candidates

SHOTS = 2  # solved examples in front
DRAWS = 3  # few-shot prompts of different examples


def statement(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Average, over a relation's statement forms, the log-probability of the answer (nats, whole answer)."""
    book = candidates.book or {}
    model, tokenizer = candidates.plain(), candidates.tokenizer

    def work(facts: FactSet) -> Float[ndarray, " fact"]:
        forms = [render(form, fact) for fact in facts for form in book[fact.relation].statements]
        _, aside = fitting(tokenizer, forms, candidates.context)
        too_long = {item.where for item in aside}
        fit = [i for i, fact in enumerate(facts) if fact.id not in too_long]
        values = np.full(len(facts), np.nan)
        values[fit] = of_statements(model, tokenizer, facts.subset(fit), book, budget=candidates.budget)
        return values

    return candidates.by_slab("Scoring statements", work)


def question(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the log-probability of the answer to the question as fine-tuning will ask it (nats)."""
    return candidates.by_slab("Scoring questions", lambda facts: _log_prob(candidates, facts, shots=0))


def few_shot(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the log-probability of the answer with solved examples in front of the question (nats)."""
    return candidates.by_slab("Scoring few-shot", lambda facts: _log_prob(candidates, facts, shots=SHOTS))


def consistency(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Rank facts HighlyKnown, MaybeKnown, WeaklyKnown, Unknown; within a class by how often it is right."""
    classes, often = known_classes(candidates)
    return np.where(classes < 0, np.nan, classes + often)


def maybe_known(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Rank MaybeKnown facts first, as Gekhman et al. found best, then HighlyKnown, WeaklyKnown, Unknown."""
    classes, often = known_classes(candidates)
    order = np.array([UNKNOWN, WEAKLY, MAYBE + 1, MAYBE, -1])[classes]
    return np.where(classes < 0, np.nan, order + often)


def known_classes(candidates: Candidates) -> tuple[Int[ndarray, " fact"], Float[ndarray, " fact"]]:
    """Return each fact's class (a place in CLASSES, -1: not asked) and, below 1, how often it is right.

    That is the mean of the share of prompts with a right greedy answer and of the probability that a sample
    is right, a hair less so that classes stay apart.
    """

    def work(facts: FactSet) -> Float[ndarray, "fact part"]:
        heard = [_said(candidates, facts, draw) for draw in range(DRAWS)]
        greedy, probability = (np.stack([part[i] for part in heard], axis=1) for i in (0, 1))
        asked = ~np.isnan(probability).any(1)
        classes = np.where(asked, classified(greedy > 0, np.nan_to_num(probability)), -1)
        return np.stack([classes, 0.499 * (greedy.mean(1) + np.nan_to_num(probability.mean(1)))], axis=1)

    both = candidates.remembered(
        "known_classes", lambda: candidates.by_slab("Asking under several prompts", work)
    )
    return both[:, 0].astype(np.int64), both[:, 1]


def _log_prob(candidates: Candidates, facts: FactSet, *, shots: int) -> Float[ndarray, " fact"]:
    model, tokenizer = candidates.plain(), candidates.tokenizer
    return spread(
        candidates.asked(facts, shots=shots),
        lambda fit: zero_shot(model, tokenizer, fit, budget=candidates.budget),
    )


def _said(candidates: Candidates, facts: FactSet, draw: int) -> list[Float[ndarray, " fact"]]:
    """Ask under one draw of solved examples; whether greedy decoding is right, how probably a sample."""
    model, tokenizer = candidates.plain(), candidates.tokenizer
    prompts = candidates.asked(facts, shots=SHOTS, seed=1000 + draw)
    fit = [p for p in prompts if p is not None]
    pairs = tokenize_with_answer(tokenizer, [p.text for p in fit], [p.answers[0] for p in fit])
    greedy, probability = said(model, tokenizer, pairs, names_of(fit), budget=candidates.budget)
    return [spread(prompts, lambda _, part=part: part) for part in (greedy, probability)]  # type: ignore[misc]


def spread(
    prompts: Sequence[Prompt | None], work: Callable[[list[Prompt]], Sequence[float] | ndarray | Tensor]
) -> Float[ndarray, " fact"]:
    """Do ``work`` on the prompts that there are and put what it returns in their places; NaN elsewhere."""
    there = [i for i, prompt in enumerate(prompts) if prompt is not None]
    values = np.full(len(prompts), np.nan)
    if there:
        values[there] = np.asarray(work([prompts[i] for i in there]))  # type: ignore[misc]
    return values
