"""Hidden knowledge K and K*: what a model ranks right by answer probabilities, and what by a linear probe.

After Gekhman et al. (2025), *Inside-Out: Hidden Factual Knowledge in LLMs*, arXiv 2503.15299. For a fact with
a right answer and wrong ones of its relation

- K is the share of (right, wrong) pairs in which the right answer is scored higher, ties counting half;
- K* is 1 where all pairs are ranked right, else 0.

Externally an answer is scored by its log-probability behind the prompt. Internally by a linear probe on the
residual stream (:mod:`interp.measures.answer_probe`), trained on facts of *other relations and other
subjects* (with one relation, on other subjects). Hidden knowledge is internal - external.

*Recognition* asks the same of a single fact: by how much a probe, here trained on other subjects of whatever
relation, scores the right answer higher than the mean of up to ``RANKED`` wrong ones.

Controls: ``permuted``, the same probe trained on labels permuted within each fact; and ``swapped``, the same
answers behind the prompt of another subject of the relation that has another right answer, and that the
probe has met as little. A fact without one has no such number (NaN).
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
from interp.measures.answer_probe import (
    draw_answers,
    other_subjects,
    probe_folds,
    probe_scores,
    score_answers,
)

WRONG = 4  # wrong answers a fact, for K
RANKED = 19  # and at most for recognition, of which K's are the first


def knowledge(
    scores: Float[ndarray, "fact answer"],
) -> tuple[Float[ndarray, " fact"], Float[ndarray, " fact"]]:
    """Return K and K* of scores whose first column is the right answer's; NaN where an answer has none."""
    right, wrong = scores[:, :1], scores[:, 1:]
    missing = np.isnan(scores).any(1)
    pairs = (right > wrong) + 0.5 * (right == wrong)
    return np.where(missing, np.nan, pairs.mean(1)), np.where(missing, np.nan, (right > wrong).all(1))


def recognition(scores: Float[ndarray, "fact answer"]) -> Float[ndarray, " fact"]:
    """Return by how much the first, right answer's score exceeds the mean of the others that are there."""
    wrong, there = scores[:, 1:], ~np.isnan(scores[:, 1:])
    mean = np.where(there, wrong, 0).sum(1) / np.where(there.any(1), there.sum(1), np.nan)
    return scores[:, 0] - mean


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
    """Return K and K* of each fact, outside and inside, and its recognition, with controls; a row a fact.

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
    answers = draw_answers(prompts, answer_sets, wrong=RANKED, seed=seed)
    kept = _rankable(answers, other_subjects(prompts, seed=seed))
    asked, texts, few = [prompts[i] for i in kept], [answers[i] for i in kept], slice(1 + WRONG)
    known, relations = np.asarray(usable, bool)[kept], np.array([p.relation for p in asked])
    subjects = np.array([p.text[slice(*p.subject)].casefold() for p in asked])
    other = other_subjects(asked, probe_folds(subjects, seed=seed), seed=seed)
    own = score_answers(model, tokenizer, asked, texts, batch_tokens=batch_tokens)
    swap = score_answers(model, tokenizer, [asked[k] for k in other], texts, batch_tokens=batch_tokens)
    for part in swap:
        part[np.array(other) == np.arange(len(asked))] = np.nan
    features, groups = own[1][:, few], (relations, subjects, known)
    scores = {"external": own[0][:, few], "external_swapped": swap[0][:, few]}
    scores |= {
        "internal": probe_scores(features, features, *groups, seed=seed),
        "internal_permuted": probe_scores(features, features, *groups, permuted=True, seed=seed),
        "internal_swapped": probe_scores(features, swap[1][:, few], *groups, seed=seed),
    }
    table = pd.DataFrame({"fact_id": [prompt.fact_id for prompt in asked]})
    for name, each in scores.items():
        table[f"k_{name}"], table[f"k_star_{name}"] = knowledge(each)
    one = (np.zeros(len(kept), int), subjects, known)
    for name, states in (("recognition", own[1]), ("recognition_swapped", swap[1])):
        table[name] = recognition(probe_scores(own[1], states, *one, seed=seed))
    return table


def _rankable(answers: Sequence[tuple[str, ...]], other: Sequence[int]) -> list[int]:
    """Return the facts that have enough wrong answers and another subject."""
    kept = [i for i, some in enumerate(answers) if len(some) > WRONG and other[i] != i]
    if not kept:
        raise InputError(
            f"none of {len(answers)} facts has {WRONG} wrong answers in its relation and another subject "
            "with another answer; give larger answer sets, or more facts"
        )
    return kept
