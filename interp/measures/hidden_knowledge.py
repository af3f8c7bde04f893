"""Hidden knowledge K and K*: what a model ranks right by answer probabilities, and what by a linear probe.

After Gekhman et al. (2025), *Inside-Out: Hidden Factual Knowledge in LLMs*, arXiv 2503.15299. For a fact with
a right answer and wrong ones of its relation

- K is the share of (right, wrong) pairs in which the right answer is scored higher, ties counting half;
- K* is 1 where all pairs are ranked right, else 0.

Externally an answer is scored by its log-probability behind the prompt. Internally by a linear probe on the
residual stream (:mod:`interp.measures.answer_probe`), trained on facts of *other relations and other
subjects* (with one relation, on other subjects). Hidden knowledge is internal - external.

Controls: ``permuted``, the same probe trained on labels permuted within each fact; and ``swapped``, the same
answers behind the prompt of another subject of the relation that has another right answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from interp.measures.answer_probe import draw_answers, other_subjects, probe_scores, score_answers

WRONG = 4  # wrong answers a fact


def knowledge(
    scores: Float[ndarray, "fact answer"],
) -> tuple[Float[ndarray, " fact"], Float[ndarray, " fact"]]:
    """Return K and K* of scores whose first column is the right answer's; NaN where an answer has none."""
    right, wrong = scores[:, :1], scores[:, 1:]
    missing = np.isnan(scores).any(1)
    pairs = (right > wrong) + 0.5 * (right == wrong)
    return np.where(missing, np.nan, pairs.mean(1)), np.where(missing, np.nan, (right > wrong).all(1))


def hidden_knowledge(
    model: TransformerBridge,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    answer_sets: Mapping[str, Sequence[str]],
    usable: Bool[ndarray, " fact"],
    *,
    batch_tokens: int = 8192,
    seed: int = 0,
) -> pd.DataFrame:
    """Return K and K* of each fact, outside and inside, with both controls; a row a fact.

    Facts of relations with fewer than ``WRONG`` wrong answers, or without another subject, are left out.

    Args:
        model: the hooked model.
        tokenizer: its own.
        prompts: the facts, as they are asked.
        answer_sets: each relation's possible answers.
        usable: facts that probes may be trained on: known ones.
        batch_tokens: bound on the tokens of one forward pass.
        seed: of all draws.

    Raises:
        InputError: a relation has no answer set, or no fact has so many wrong answers and another subject.
    """
    answers = draw_answers(prompts, answer_sets, wrong=WRONG, seed=seed)
    other = other_subjects(prompts, seed=seed)
    kept = _rankable(answers, other)
    texts = [answers[i] for i in kept]
    own = score_answers(model, tokenizer, [prompts[i] for i in kept], texts, batch_tokens=batch_tokens)
    swap = score_answers(
        model, tokenizer, [prompts[other[i]] for i in kept], texts, batch_tokens=batch_tokens
    )
    relations = np.array([prompts[i].relation for i in kept])
    subjects = np.array([prompts[i].text[slice(*prompts[i].subject)].casefold() for i in kept])
    groups = (relations, subjects, np.asarray(usable, dtype=bool)[kept])
    scores = {
        "external": own[0],
        "external_swapped": swap[0],
        "internal": probe_scores(own[1], own[1], *groups, seed=seed),
        "internal_permuted": probe_scores(own[1], own[1], *groups, permuted=True, seed=seed),
        "internal_swapped": probe_scores(own[1], swap[1], *groups, seed=seed),
    }
    found = {"fact_id": [prompts[i].fact_id for i in kept]}
    for name, table in scores.items():
        found[f"k_{name}"], found[f"k_star_{name}"] = knowledge(table)  # type: ignore[assignment]
    return pd.DataFrame(found)


def _rankable(answers: Sequence[tuple[str, ...]], other: Sequence[int]) -> list[int]:
    """Return the facts that have enough wrong answers and another subject."""
    kept = [i for i, some in enumerate(answers) if len(some) == 1 + WRONG and other[i] != i]
    if not kept:
        raise InputError(
            f"none of {len(answers)} facts has {WRONG} wrong answers in its relation and another subject "
            "with another answer; give larger answer sets, or more facts"
        )
    return kept
