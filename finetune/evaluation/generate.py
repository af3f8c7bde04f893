"""Greedy answers of a model, judged by how they begin, and the answers' log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, prompt_names, render, wording
from finetune.data.tokenization import tokenize, tokenize_with_answer
from finetune.evaluation.answer_budget import LEAD_TOKENS, answer_budget
from finetune.evaluation.batching import TokenBudget, pad_id, require_context, require_embedded
from finetune.evaluation.judging import AnswerJudge
from finetune.evaluation.scoring import Ids, score_pairs

if TYPE_CHECKING:
    from jaxtyping import Float
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from finetune.evaluation.prefixes import PrefixMemo
    from finetune.evaluation.prompt_cache import RanPrompts


@dataclass(frozen=True, kw_only=True)
class GeneratedAnswers:
    """What a model said to prompts; every array is [prompt].

    ``correct`` is whether the greedy answer begins with an accepted one, after what models put in front
    (:mod:`finetune.evaluation.judging`); ``exact`` whether it is one, ``contained`` whether one occurs in it.
    ``given`` names the relation's answer that it begins with, or what was said in short. ``log_prob`` is that
    of the canonical answer (nats, whole answer, no EOS).
    """

    predictions: tuple[str, ...]
    given: tuple[str, ...]
    correct: np.ndarray
    exact: np.ndarray
    contained: np.ndarray
    log_prob: np.ndarray


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    judge: AnswerJudge | None = None,
    max_new_tokens: int | None = None,
    budget: TokenBudget | None = None,
    scored: bool = True,
    memo: PrefixMemo | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> GeneratedAnswers:
    """Answer prompts greedily, judge the answers, and score the canonical ones.

    Each prompt is run once for both, by models whose cache is read as the whole text is; twice by others.

    Args:
        model: the plain model.
        tokenizer: its own.
        prompts: what to ask; their canonical answers are the possible ones of their relations.
        judge: knows the relations' possible answers where the prompts do not hold all of them.
        max_new_tokens: as in :func:`generate`.
        budget: how many tokens a forward pass takes.
        scored: whether to score the canonical answers; their log-probabilities are NaN otherwise.
        memo: as in :func:`generate`.
        advance: is told how many prompts are done.

    Raises:
        InputError: a prompt leaves no room to answer or, where answers are scored, for its own.
    """
    judge, log_prob = judge or AnswerJudge.of(prompts), np.full(len(prompts), np.nan)
    told: dict[str, Any] = {"memo": memo, "budget": budget, "max_new_tokens": max_new_tokens}
    if scored:
        said, scores = generate_and_score(model, tokenizer, prompts, advance=advance, **told)
        log_prob = scores[:, 0]
    else:
        said = generate(model, tokenizer, prompts, advance=advance, **told)
    pairs = list(zip(said, prompts, strict=True))
    return GeneratedAnswers(
        predictions=tuple(said),
        given=tuple(judge.named(text, p.relation, p.text[slice(*p.subject)]) for text, p in pairs),
        correct=np.array([judge.is_right(prompt, text) for text, prompt in pairs], bool),
        exact=np.array([judge.is_right(prompt, text, "exact") for text, prompt in pairs], bool),
        contained=np.array([judge.is_right(prompt, text, "contains") for text, prompt in pairs], bool),
        log_prob=log_prob,
    )


def states_fact(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: FactSet,
    phrasebook: Phrasebook,
    *,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Return whether the model completes *every* statement form of each fact correctly, Bool [fact].

    Args:
        model: the plain model.
        tokenizer: its own.
        facts: in order.
        phrasebook: each relation's wording.
        budget: as in :func:`generate`.
        advance: is called with how many statements are done.
    """
    prompts = [render(form, fact) for fact in facts for form in wording(phrasebook, fact.relation).statements]
    owner = [i for i, fact in enumerate(facts) for _ in phrasebook[fact.relation].statements]
    said = generate(model, tokenizer, prompts, budget=budget, advance=advance)
    known, judge = np.ones(len(facts), bool), AnswerJudge.of(prompts)
    for i, prompt, text in zip(owner, prompts, said, strict=True):
        known[i] &= judge.is_right(prompt, text)
    return known


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int | None = None,
    memo: PrefixMemo | None = None,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Complete prompts greedily and return the first line that says something; left-padded with a mask.

    Decoding ends at the tokenizer's EOS or any the model itself ends at (a chat model has several), with such
    a line, after ``max_new_tokens``, or where the context is full.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        max_new_tokens: by default what the longest canonical answer takes, and what models put in front.
        memo: run what prompts begin with (solved examples) once; nothing is shared without it.
        budget: bound on the tokens of one forward pass; halved where memory runs out.
        advance: is called with how many prompts are done.

    Raises:
        InputError: a prompt leaves the model no room to answer.
    """
    from finetune.evaluation.decoding import complete_rows

    def complete(chunk: list[int], rows: list[Ids], **how: Any) -> list[str]:
        return complete_rows(model, tokenizer, rows, memo=memo, **how)

    rows = [tokens.ids for tokens in tokenize(tokenizer, prompts)]
    told: dict[str, Any] = {"memo": memo, "budget": budget, "advance": advance}
    return _complete(model, tokenizer, prompts, rows, complete, max_new_tokens=max_new_tokens, **told)


def generate_and_score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    temperatures: Sequence[float] = (1.0,),
    ran: RanPrompts | None = None,
    **told: Any,
) -> tuple[list[str], Float[np.ndarray, "prompt temperature"]]:
    """Do what :func:`generate` and :func:`score` do; each prompt is run once for both.

    A model that does not go on from its cache (:func:`goes_on_from_cache`) runs it twice.

    Args:
        model: the plain model.
        tokenizer: its own.
        prompts: what to ask, and to score the canonical answers of.
        temperatures: at which the answers are scored as samples.
        ran: keeps the prompts that were run last, for a question more.
        told: further ones of :func:`generate`.

    Raises:
        InputError: a prompt leaves the model no room to answer or for its own answer.
    """
    from finetune.evaluation.cache_parity import goes_on_from_cache
    from finetune.evaluation.decoding import complete_cached
    from finetune.evaluation.prompt_cache import log_prob_behind, run_prompts

    if not prompts or not goes_on_from_cache(model):
        budget = told.get("budget")
        each = [score(model, tokenizer, prompts, temperature=t, budget=budget)[0] for t in temperatures]
        return generate(model, tokenizer, prompts, **told), np.stack(each, axis=1)
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    whole = [(*head, *answer) for head, answer in pairs]
    require_context(model, list(map(len, whole)), prompt_names(prompts))
    require_embedded(model, tokenizer, whole, prompt_names(prompts))
    log_prob = np.full((len(prompts), len(temperatures)), np.nan)

    def complete(chunk: list[int], rows: list[Ids], *, front: int, **how: Any) -> list[str]:
        pad, answers = pad_id(tokenizer, model), [pairs[i][1] for i in chunk]
        cache, logits = run_prompts(model, rows, pad, front=front, memo=told.get("memo"), ran=ran)
        log_prob[chunk] = log_prob_behind(cache, logits, answers, temperatures).numpy()
        del logits
        return complete_cached(cache, tokenizer, **how)

    rows, tail = [head for head, _ in pairs], max((len(answer) for _, answer in pairs), default=0)
    return _complete(model, tokenizer, prompts, rows, complete, tail=tail, **told), log_prob


def _complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    rows: Sequence[Ids],
    complete: Callable[..., list[str]],
    *,
    tail: int = 0,
    max_new_tokens: int | None = None,
    **told: Any,
) -> list[str]:
    """Complete the token rows of prompts by a function that runs tails of so many tokens behind them, too."""
    from finetune.evaluation.decoding import complete_in_batches

    if not rows:
        return []
    longest = max_new_tokens or answer_budget(tokenizer, prompts)
    most = max_new_tokens or longest + LEAD_TOKENS
    limit = require_context(model, [len(row) + 1 for row in rows], prompt_names(prompts))
    require_embedded(model, tokenizer, rows, prompt_names(prompts))
    rooms: dict[str, Any] = {"longest": max(longest, tail), "room": most, "limit": limit}
    return complete_in_batches(model, rows, complete, **rooms, **told)


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    temperature: float = 1.0,
    memo: PrefixMemo | None = None,
    budget: TokenBudget | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Score canonical answers by teacher forcing in one forward a batch.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        temperature: as of what samples the answers score.
        memo: as in :func:`generate`.
        budget: bound on the tokens of one forward pass; halved where memory runs out.

    Returns:
        log_prob, Float [prompt], of the answer in nats; and whether greedy decoding would say exactly
        this answer and then EOS, Bool [prompt].

    Raises:
        InputError: a prompt with its answer is longer than the model can read.
    """
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    how: dict[str, Any] = {"temperature": temperature, "memo": memo, "budget": budget}
    return score_pairs(model, tokenizer, pairs, prompt_names(prompts), **how)
