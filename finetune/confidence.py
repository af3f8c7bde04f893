"""What a base model's own answers say of how well it holds a fact: log-probabilities before any training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from finetune.batching import Budget, require_context
from finetune.evaluate import names_of, score
from finetune.facts import FactSet, InputError
from finetune.prompts import Phrasebook, Prompt, few_shot, render
from finetune.tokens import tokenize_with_answer

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHOTS = 4


def zero_shot(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    budget: Budget | None = None,
) -> Float[ndarray, " prompt"]:
    """Return log p(answer | question) in nats, of the whole canonical answer."""
    return score(model, tokenizer, prompts, budget=budget)[0]


def with_examples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    shots: int = SHOTS,
    seed: int = 0,
    budget: Budget | None = None,
) -> Float[ndarray, " prompt"]:
    """Return log p(answer | solved examples, question): examples of the same relation, other subjects.

    A prompt that leaves no room for ``shots`` examples in the model's context gets as many as fit; one whose
    relation has no other subject cannot be measured and is NaN.

    Raises:
        InputError: fewer than one shot is asked for.
    """
    if shots < 1:
        raise InputError(f"shots = {shots}: give at least 1 example, or measure confidence without any")
    shown: list[Prompt] = list(prompts)
    left = list(range(len(prompts)))
    limit = require_context(model, [0] * len(prompts), names_of(prompts))
    for n in range(shots, 0, -1):
        tried = few_shot(prompts, n, seed=seed)
        texts, answers = [tried[i].text for i in left], [tried[i].answers[0] for i in left]
        widths = [len(p) + len(a) for p, a in tokenize_with_answer(tokenizer, texts, answers)]
        fits = [limit is None or width <= limit for width in widths]
        for i, fit in zip(left, fits, strict=True):
            if fit:
                shown[i] = tried[i]
        left = [i for i, fit in zip(left, fits, strict=True) if not fit]
        if not left:
            break
    alone = np.array([new.text == old.text for new, old in zip(shown, prompts, strict=True)], dtype=bool)
    return np.where(alone, np.nan, zero_shot(model, tokenizer, shown, budget=budget))


def of_statements(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    phrasebook: Phrasebook,
    *,
    budget: Budget | None = None,
) -> Float[ndarray, " fact"]:
    """Return log p(answer | statement form) in nats, averaged over the relation's statement forms.

    Of all measures at the base this one told best which facts survive fine-tuning (docs/findings.md). A fact
    whose relation has no statement form is NaN.
    """
    owner = np.array([i for i, f in enumerate(facts) for _ in phrasebook[f.relation].statements], np.int64)
    prompts = [render(form, fact) for fact in facts for form in phrasebook[fact.relation].statements]
    forms = np.bincount(owner, minlength=len(facts))
    if not prompts:
        return np.full(len(facts), np.nan)
    sums = np.bincount(
        owner, weights=score(model, tokenizer, prompts, budget=budget)[0], minlength=len(facts)
    )
    return np.divide(sums, forms, out=np.full(len(facts), np.nan), where=forms > 0)
