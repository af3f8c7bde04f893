"""Answer grids: the log-probability of every possible answer behind every prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor
from transformers import PreTrainedModel

from finetune.evaluation.batching import TokenBudget, require_context, rows_within, run_in_batches
from finetune.evaluation.cache_parity import goes_on_from_cache
from finetune.evaluation.prefixes import PrefixMemo, front_of_all
from finetune.evaluation.prompt_cache import PromptCache, RanPrompts, later_log_prob, run_prompts
from finetune.evaluation.scoring import Ids, answer_logits, score_answer
from finetune.evaluation.unembedding import vocabulary


def score_grid(
    model: PreTrainedModel,
    prompts: Sequence[Ids],
    answers: Sequence[Ids],
    names: Sequence[str],
    *,
    least: Sequence[float] | None = None,
    memo: PrefixMemo | None = None,
    budget: TokenBudget | None = None,
    ran: RanPrompts | None = None,
) -> Float[ndarray, "prompt answer"]:
    """Score every answer behind every prompt, in nats; a prompt is run once.

    A model that does not go on from its cache (:func:`goes_on_from_cache`) runs it once an answer.

    Args:
        model: the plain model.
        prompts: their tokens.
        answers: their tokens, as they stand behind these prompts.
        names: what a prompt is called in an error.
        least: each answer's score below which it does not matter by how much: where its first token alone
            scores less, so does the answer, and that stands in the score's place.
        memo: run what prompts begin with (solved examples) once; nothing is shared without it.
        budget: how many tokens a forward pass takes.
        ran: prompts that were run, which are not run again.

    Raises:
        InputError: a prompt with an answer is longer than the model can read.
    """
    longest = max(map(len, answers), default=0)
    require_context(model, [len(prompt) + longest for prompt in prompts], names)
    budget = budget or TokenBudget()
    model.eval()
    if not prompts or not answers:
        return np.zeros((len(prompts), len(answers)))
    if not goes_on_from_cache(model):
        return _score_whole_texts(model, prompts, answers, budget)
    return _score_behind_caches(model, prompts, answers, least, memo, budget, ran)


def _score_behind_caches(
    model: PreTrainedModel,
    prompts: Sequence[Ids],
    answers: Sequence[Ids],
    least: Sequence[float] | None,
    memo: PrefixMemo | None,
    budget: TokenBudget,
    ran: RanPrompts | None,
) -> Float[ndarray, "prompt answer"]:
    """Score every answer behind every prompt, which is run once."""
    longest, scores = max(map(len, answers)), np.zeros((len(prompts), len(answers)))
    # An answer's tokens behind all rows are unembedded at once.
    most = rows_within(vocabulary(model), max(longest - 1, 1))
    front = front_of_all(model, prompts, longest, memo)
    bounds = torch.full((len(answers),), -torch.inf) if least is None else torch.tensor(least)

    def work(chunk: list[int]) -> None:
        some = [prompts[i] for i in chunk]
        kept, logits = run_prompts(model, some, 0, front=front(chunk), memo=memo, ran=ran)
        first = logits.float().log_softmax(-1)[:, [answer[0] for answer in answers]].cpu()
        _add_tails(kept, first, answers, ~(first < bounds))
        scores[chunk] = first.numpy()

    run_in_batches([len(prompt) + longest for prompt in prompts], work, budget=budget, most=most)
    return scores


def _score_whole_texts(
    model: PreTrainedModel, prompts: Sequence[Ids], answers: Sequence[Ids], budget: TokenBudget
) -> Float[ndarray, "prompt answer"]:
    """Score every answer behind every prompt by a pass over the whole text."""
    pairs = [(prompt, answer) for prompt in prompts for answer in answers]
    scores = np.zeros(len(pairs))

    def work(chunk: list[int]) -> None:
        logits = answer_logits(model, [pairs[i] for i in chunk], 0)
        for k, i in enumerate(chunk):
            answer = pairs[i][1]
            scores[i], _ = score_answer(logits[k, : len(answer) + 1].cpu(), answer, frozenset())

    most = rows_within(vocabulary(model), max(map(len, answers)) + 1)
    run_in_batches([len(prompt) + len(answer) for prompt, answer in pairs], work, budget=budget, most=most)
    return scores.reshape(len(prompts), len(answers))


def _add_tails(
    kept: PromptCache,
    scores: Float[Tensor, "row answer"],
    answers: Sequence[Ids],
    wanted: Bool[Tensor, "row answer"],
) -> None:
    """Add to scores of answers' first tokens what the others get, where that is wanted."""
    lengths = torch.tensor(list(map(len, answers)))
    for length in sorted({*lengths.tolist()} - {1}):
        for pairs in (wanted & (lengths == length)).nonzero().split(len(scores)):
            if len(pairs):
                row, nth = pairs.unbind(1)
                whole = torch.tensor([answers[k] for k in nth.tolist()])
                logits = kept.tail_logits(whole[:, :-1], row)
                scores[row, nth] += later_log_prob(logits, whole, lengths[nth])
