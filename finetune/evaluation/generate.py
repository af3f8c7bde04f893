"""Greedy answers of a model, judged by how they begin, and the answers' log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render, wording
from finetune.data.tokenization import answer_ids, gap, special_texts, tokenize, tokenize_with_answer
from finetune.evaluation.batching import TokenBudget, pad_id, require_context, require_embedded
from finetune.evaluation.judging import AnswerJudge
from finetune.evaluation.scoring import Ids, score_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from finetune.evaluation.prefixes import PrefixMemo

LONGEST_ANSWER = 64  # tokens; of a longer one this much is decoded, and what models put in front
LEAD_TOKENS = 16  # what models put in front of an answer


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
    from finetune.evaluation.cache_parity import goes_on_from_cache

    judge = judge or AnswerJudge.of(prompts)
    how: dict[str, Any] = {"memo": memo, "budget": budget or TokenBudget()}
    told: dict[str, Any] = {**how, "max_new_tokens": max_new_tokens, "advance": advance}
    log_prob = np.full(len(prompts), np.nan)
    if scored and prompts and goes_on_from_cache(model):
        said, log_prob = _generate_and_score(model, tokenizer, prompts, **told)
    else:
        said = generate(model, tokenizer, prompts, **told)
        log_prob = score(model, tokenizer, prompts, **how)[0] if scored else log_prob
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
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        facts: the facts, in order.
        phrasebook: each relation's wording.
        budget: bound on the tokens of one forward pass; halved where memory runs out.
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


def _generate_and_score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], **told: Any
) -> tuple[list[str], np.ndarray]:
    """Do what :func:`generate` and :func:`score` do, and run each prompt once for both."""
    from finetune.evaluation.decoding import complete_cached
    from finetune.evaluation.prompt_cache import log_prob_behind, run_prompts

    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    names, whole = prompt_names(prompts), [(*head, *answer) for head, answer in pairs]
    require_context(model, list(map(len, whole)), names)
    require_embedded(model, tokenizer, whole, names)
    log_prob, pad, memo = np.full(len(prompts), np.nan), pad_id(tokenizer, model), told["memo"]

    def complete(chunk: list[int], rows: list[Ids], *, front: int, **how: Any) -> list[str]:
        cache, logits = run_prompts(model, rows, pad, front=front, memo=memo)
        first = logits.float().log_softmax(-1)
        log_prob[chunk] = log_prob_behind(cache, first, [pairs[i][1] for i in chunk]).numpy()
        del logits, first
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
    max_new_tokens: int | None,
    memo: PrefixMemo | None,
    budget: TokenBudget | None,
    advance: Callable[[int], None],
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
    return complete_in_batches(model, rows, complete, **rooms, memo=memo, budget=budget, advance=advance)


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    memo: PrefixMemo | None = None,
    budget: TokenBudget | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Score canonical answers by teacher forcing in one forward a batch.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        memo: as in :func:`generate`.
        budget: bound on the tokens of one forward pass; halved where memory runs out.

    Returns:
        log_prob, Float [prompt], of the answer in nats; and whether greedy decoding would say exactly
        this answer and then EOS, Bool [prompt].

    Raises:
        InputError: a prompt with its answer is longer than the model can read.
    """
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    names = prompt_names(prompts)
    return score_pairs(model, tokenizer, pairs, names, memo=memo, budget=budget)


def answer_budget(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> int:
    """Count the tokens that the longest canonical answer and its end take, up to a bound."""
    specials = special_texts(tokenizer)
    answers = sorted({gap(p.text, specials) + p.answers[0] for p in prompts})
    alone = tokenizer(answers, add_special_tokens=False)["input_ids"]
    # Behind its prompt an answer may be more tokens than alone, where SentencePiece puts a space in front.
    # Tokenizers part at spaces: one prompt with the same last word and answer is enough.
    some = list({(p.answers[0], p.text.rpartition(" ")[2], p.rendered): p for p in prompts}.values())
    behind = [said for _, said in answer_ids(tokenizer, some, [p.answers[0] for p in some])]
    return min(LONGEST_ANSWER, max(map(len, [*alone, *behind])) + 1)


def prompt_names(prompts: Sequence[Prompt]) -> list[str]:
    """Say of each prompt what an error calls it."""
    return [f"fact {p.fact_id!r}" if p.fact_id else f"prompt {p.text[:40]!r}" for p in prompts]
