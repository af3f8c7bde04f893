"""Greedy answers of a model, judged exactly and by containment, and the answers' log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finetune.data.facts import FactSet
from finetune.data.prompts import Phrasebook, Prompt, render
from finetune.data.tokenization import (
    answer_ids,
    end_ids,
    gap,
    special_texts,
    tokenize,
    tokenize_with_answer,
)
from finetune.evaluation.batching import (
    TokenBudget,
    pad_id,
    pad_rows,
    require_context,
    require_embedded,
    run_in_batches,
)
from finetune.evaluation.judging import contains, matches
from finetune.evaluation.scoring import score_pairs

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST_ANSWER = 24


@dataclass(frozen=True, kw_only=True)
class GeneratedAnswers:
    """What a model said to prompts; every array is [prompt].

    ``correct`` is exact match of the greedy answer with any accepted one, ``contained`` whether an accepted
    one occurs in it; ``log_prob`` is that of the canonical answer (nats, whole answer, no EOS).
    """

    predictions: tuple[str, ...]
    correct: np.ndarray
    contained: np.ndarray
    log_prob: np.ndarray


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int | None = None,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> GeneratedAnswers:
    """Answer prompts greedily and score the canonical answers.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        max_new_tokens: as in :func:`generate`: the default lets a model say a bare answer, which is what
            exact match asks for; containment in whole sentences needs more.
        budget: bound on the tokens of one forward pass; halved where memory runs out.
        advance: is called with how many prompts are done.
    """
    budget = budget or TokenBudget()
    said = generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens, budget=budget, advance=advance)
    log_prob, _ = score(model, tokenizer, prompts, budget=budget)
    pairs = list(zip(said, prompts, strict=True))
    return GeneratedAnswers(
        predictions=tuple(said),
        correct=np.array([matches(text, prompt.answers) for text, prompt in pairs], bool),
        contained=np.array([contains(text, prompt.answers) for text, prompt in pairs], bool),
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
    prompts = [render(form, fact) for fact in facts for form in phrasebook[fact.relation].statements]
    owner = [i for i, fact in enumerate(facts) for _ in phrasebook[fact.relation].statements]
    said = generate(model, tokenizer, prompts, budget=budget, advance=advance)
    known = np.ones(len(facts), bool)
    for i, prompt, text in zip(owner, prompts, said, strict=True):
        known[i] &= matches(text, prompt.answers)
    return known


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int | None = None,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Complete prompts greedily and return the first line that says something; left-padded with a mask.

    Decoding ends at the tokenizer's EOS or any the model itself ends at (a chat model has several), after
    ``max_new_tokens`` (by default what the longest canonical answer takes), or where the context is full.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        max_new_tokens: by default what the longest canonical answer takes.
        budget: bound on the tokens of one forward pass; halved where memory runs out.
        advance: is called with how many prompts are done.

    Raises:
        InputError: a prompt leaves the model no room to answer.
    """
    rows = [tokens.ids for tokens in tokenize(tokenizer, prompts)]
    if not rows:
        return []
    longest = max_new_tokens or answer_budget(tokenizer, prompts)
    limit = require_context(model, [len(row) + 1 for row in rows], prompt_names(prompts))
    require_embedded(model, tokenizer, rows, prompt_names(prompts))
    pad, ends = pad_id(tokenizer, model), end_ids(model, tokenizer)
    said = [""] * len(prompts)
    model.eval()

    def work(chunk: list[int]) -> None:
        ids, mask = pad_rows([rows[i] for i in chunk], pad, left=True)
        room = longest if limit is None else min(longest, limit - ids.shape[1])
        new = _decode_greedily(model, ids, mask, room=room, pad=pad, ends=ends)
        for i, text in zip(chunk, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            said[i] = text.strip().split("\n")[0].strip()

    _run_tight_rows_alone([len(row) + longest for row in rows], limit, work, budget, advance)
    return said


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    budget: TokenBudget | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Score canonical answers by teacher forcing in one forward a batch.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        prompts: one a fact, each with its accepted answers.
        budget: bound on the tokens of one forward pass; halved where memory runs out.

    Returns:
        log_prob, Float [prompt], of the answer in nats; and whether greedy decoding would say exactly
        this answer and then EOS, Bool [prompt].

    Raises:
        InputError: a prompt with its answer is longer than the model can read.
    """
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    return score_pairs(model, tokenizer, pairs, prompt_names(prompts), budget=budget)


def answer_budget(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> int:
    """Count the tokens that the longest canonical answer and its end take, up to a bound."""
    specials = special_texts(tokenizer)
    answers = sorted({gap(p.text, specials) + p.answers[0] for p in prompts})
    alone = tokenizer(answers, add_special_tokens=False)["input_ids"]
    # Behind its prompt an answer may be more tokens than alone, where SentencePiece puts a space in front.
    behind = [said for _, said in answer_ids(tokenizer, prompts, [p.answers[0] for p in prompts])]
    return min(LONGEST_ANSWER, max(map(len, [*alone, *behind])) + 1)


def _run_tight_rows_alone(
    widths: Sequence[int],
    limit: int | None,
    work: Callable[[list[int]], None],
    budget: TokenBudget | None,
    advance: Callable[[int], None],
) -> None:
    """Run a row that the context leaves less room alone: it must not shorten its neighbours' answers."""
    tight = [i for i, width in enumerate(widths) if limit is not None and width > limit]
    roomy = sorted(set(range(len(widths))) - set(tight))
    for i in tight:
        run_in_batches([widths[i]], lambda _, i=i: work([i]), budget=TokenBudget())  # type: ignore[misc]
    run_in_batches(
        [widths[i] for i in roomy],
        lambda chunk: work([roomy[k] for k in chunk]),
        budget=budget or TokenBudget(),
        advance=lambda done: advance(len(tight) + done),
    )


def _decode_greedily(
    model: PreTrainedModel, ids: Tensor, mask: Tensor, *, room: int, pad: int, ends: frozenset[int]
) -> list[list[int]]:
    """Return the new ids of each row, cut at the first end: what follows need not be a special token."""
    import torch

    with torch.inference_mode():
        out = model.generate(  # type: ignore[operator]
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=room,
            do_sample=False,
            num_beams=1,
            pad_token_id=pad,
            eos_token_id=sorted(ends) or None,
        )
    rows = out[:, ids.shape[1] :].tolist()
    return [row[: next((k for k, each in enumerate(row) if each in ends), len(row))] for row in rows]


def prompt_names(prompts: Sequence[Prompt]) -> list[str]:
    """Say of each prompt what an error calls it."""
    return [f"fact {p.fact_id!r}" if p.fact_id else f"prompt {p.text[:40]!r}" for p in prompts]
