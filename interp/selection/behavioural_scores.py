"""Behavioural scores of candidate facts: log-probabilities of answers, and how consistently a base is right.

Every function returns Float [fact], higher = better known, NaN where a fact cannot be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from finetune.data.prompt_formats import prompts_within_context
from finetune.data.prompts import Prompt, prompt_names, render
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation.consistency import consistency_classes, decodes_greedily
from finetune.evaluation.generate import score

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray
    from torch import Tensor

    from finetune.data.facts import FactSet
    from interp.selection.candidates import Candidates

DRAWS = 3  # few-shot prompts of different examples
FEW_SHOT, STATED = "few-shot", "statements"  # what facts are asked under, for their classes
Ask = Callable[[list[Prompt]], tuple["ndarray", "ndarray"]]


def statement(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Average, over a relation's statement forms, the log-probability of the answer (nats, whole answer).

    A fact whose relation has no statement form is NaN.
    """

    def work(facts: FactSet) -> Float[ndarray, " fact"]:
        values, _ = _each(_forms(candidates, facts), _scoring(candidates))
        forms = (~np.isnan(values)).sum(1)
        return np.divide(np.nansum(values, 1), forms, out=np.full(len(facts), np.nan), where=forms > 0)

    return candidates.in_chunks("Scoring statements", work)


def question(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the log-probability of the answer to the question as fine-tuning will ask it (nats)."""
    return candidates.in_chunks("Scoring questions", lambda facts: _log_prob(candidates, facts, shots=0))


def few_shot(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Return the log-probability of the answer with solved examples in front of the question (nats)."""
    return candidates.in_chunks(
        "Scoring few-shot", lambda facts: _log_prob(candidates, facts, shots=candidates.shots)
    )


def consistency(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Rank HighlyKnown, MaybeKnown, WeaklyKnown, Unknown under few-shot prompts, then by how often right.

    Classes are those of :mod:`finetune.evaluation.consistency`.
    """
    return _in_order(candidates, (0, 1, 2, 3), FEW_SHOT)


def consistency_stated(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Rank the same with the relation's statement forms as prompts, for bases that take no examples."""
    return _in_order(candidates, (0, 1, 2, 3), STATED)


def maybe_known(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Rank MaybeKnown facts first, as Gekhman et al. found best, then HighlyKnown, WeaklyKnown, Unknown."""
    return _in_order(candidates, (0, 1, 3, 2), FEW_SHOT)


def maybe_stated(candidates: Candidates) -> Float[ndarray, " fact"]:
    """Rank MaybeKnown facts first, with the relation's statement forms as prompts."""
    return _in_order(candidates, (0, 1, 3, 2), STATED)


def known_classes(
    candidates: Candidates, under: str = FEW_SHOT
) -> tuple[Int[ndarray, " fact"], Float[ndarray, " fact"]]:
    """Return each fact's class (a place in CLASSES, -1: not asked) and, below 1, how often it is right.

    That is the mean of the share of prompts with a right greedy answer and of the probability that a sample
    is right, a hair less so that classes stay apart. ``under`` is ``"few-shot"`` or ``"statements"``.
    """

    def work(facts: FactSet) -> Float[ndarray, "fact part"]:
        prompts = _forms(candidates, facts) if under == STATED else _few_shot(candidates, facts)
        greedy, probability = _each(prompts, partial(_score_decoding, candidates))
        counted = ~np.isnan(probability)
        asked = counted.any(1)
        # A relation with fewer forms has fewer prompts: what is missing is neither right nor wrong.
        known = consistency_classes(np.where(counted, greedy > 0, False), np.nan_to_num(probability), counted)
        n = np.maximum(counted.sum(1), 1)
        often = 0.499 * (np.nan_to_num(greedy).sum(1) / n + np.nan_to_num(probability).sum(1) / n)
        return np.stack([np.where(asked, known, -1), often], axis=1)

    both = candidates.cached(
        f"classes under {under}", lambda: candidates.in_chunks(f"Asking under {under} prompts", work)
    )
    return both[:, 0].astype(np.int64), both[:, 1]


def _in_order(candidates: Candidates, order: Sequence[int], under: str) -> Float[ndarray, " fact"]:
    classes, often = known_classes(candidates, under)
    return np.where(classes < 0, np.nan, np.array([*order, -1])[classes] + often)


def _log_prob(candidates: Candidates, facts: FactSet, *, shots: int) -> Float[ndarray, " fact"]:
    ask = _scoring(candidates)
    return spread_over_prompts(candidates.prompts_for(facts, shots=shots), lambda fit: ask(fit)[0])


def _scoring(candidates: Candidates) -> Ask:
    return partial(score, candidates.open_model(), candidates.tokenizer, budget=candidates.budget)


def _few_shot(candidates: Candidates, facts: FactSet) -> list[list[Prompt | None]]:
    """Ask under several draws of solved examples."""
    draws = [candidates.prompts_for(facts, shots=candidates.shots, draw=draw) for draw in range(DRAWS)]
    return [list(prompts) for prompts in zip(*draws, strict=True)]


def _forms(candidates: Candidates, facts: FactSet) -> list[list[Prompt | None]]:
    """Ask in every statement form of a fact's relation, or in none if one does not fit."""
    book = candidates.book or {}
    forms = [[render(form, fact) for form in book[fact.relation].statements] for fact in facts]
    _, aside = prompts_within_context(
        candidates.tokenizer, [p for some in forms for p in some], candidates.context
    )
    candidates.leave_out(aside)
    too_long = {item.where for item in aside}
    return [[None if p.fact_id in too_long else p for p in some] for some in forms]


def _score_decoding(candidates: Candidates, prompts: list[Prompt]) -> tuple[ndarray, ndarray]:
    """Say whether greedy decoding is right, and how probably a sample is."""
    model, tokenizer = candidates.open_model(), candidates.tokenizer
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    return decodes_greedily(model, tokenizer, pairs, prompt_names(prompts), budget=candidates.budget)


def _each(
    prompts: Sequence[Sequence[Prompt | None]], ask: Ask
) -> tuple[Float[ndarray, "fact prompt"], Float[ndarray, "fact prompt"]]:
    """Ask every fact's prompts, and return both parts of what is said to them; NaN where there is none."""
    width = max(1, *map(len, prompts))
    flat = [p for some in prompts for p in (*some, *[None] * (width - len(some)))]
    first, second = (
        rearrange(
            spread_over_prompts(flat, lambda _, part=part: part),  # type: ignore[misc]
            "(fact prompt) -> fact prompt",
            prompt=width,
        )
        for part in ask([p for p in flat if p is not None])
    )
    return first, second


def spread_over_prompts(
    prompts: Sequence[Prompt | None], work: Callable[[list[Prompt]], Sequence[float] | ndarray | Tensor]
) -> Float[ndarray, " fact"]:
    """Do ``work`` on the prompts that there are and put what it returns in their places; NaN elsewhere."""
    there = [i for i, prompt in enumerate(prompts) if prompt is not None]
    values = np.full(len(prompts), np.nan)
    if there:
        values[there] = np.asarray(work([prompts[i] for i in there]))  # type: ignore[misc]
    return values
