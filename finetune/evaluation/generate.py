"""Greedy answers of a model, judged by how they begin, and the answers' log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from finetune.evaluation.answer_words import first_line, line_is_said
from finetune.evaluation.batching import (
    TokenBudget,
    pad_id,
    pad_rows,
    require_context,
    require_embedded,
    rows_within,
    run_in_batches,
)
from finetune.evaluation.judging import AnswerJudge
from finetune.evaluation.scoring import fewest_logits, score_pairs

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST_ANSWER = 24
LEAD_TOKENS = 16  # what models put in front of an answer
FEWEST_SHARED = 16  # tokens that prompts must have in common for running them once to pay


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
    advance: Callable[[int], None] = lambda done: None,
) -> GeneratedAnswers:
    """Answer prompts greedily, judge the answers, and score the canonical ones.

    Args:
        model: the plain model.
        tokenizer: its own.
        prompts: what to ask; their canonical answers are the possible ones of their relations.
        judge: knows the relations' possible answers where the prompts do not hold all of them.
        max_new_tokens: as in :func:`generate`.
        budget: how many tokens a forward pass takes.
        advance: is told how many prompts are done.
    """
    judge = judge or AnswerJudge.of(prompts)
    budget = budget or TokenBudget()
    said = generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens, budget=budget, advance=advance)
    log_prob, _ = score(model, tokenizer, prompts, budget=budget)
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
    prompts = [render(form, fact) for fact in facts for form in phrasebook[fact.relation].statements]
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
    share_prefix: bool = False,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Complete prompts greedily and return the first line that says something; left-padded with a mask.

    Decoding ends at the tokenizer's EOS or any the model itself ends at (a chat model has several), with such
    a line, after ``max_new_tokens`` (by default what the longest canonical answer takes, and what models put
    in front of it), or where the context is full. With ``share_prefix`` what all prompts of a batch begin
    with (the same solved examples) is run once.

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
    import torch

    from finetune.evaluation.unembedding import vocabulary

    rows = [tokens.ids for tokens in tokenize(tokenizer, prompts)]
    if not rows:
        return []
    longest = max_new_tokens or answer_budget(tokenizer, prompts)
    most = max_new_tokens or longest + LEAD_TOKENS
    limit = require_context(model, [len(row) + 1 for row in rows], prompt_names(prompts))
    require_embedded(model, tokenizer, rows, prompt_names(prompts))
    pad, ends = pad_id(tokenizer, model), end_ids(model, tokenizer)
    said = [""] * len(prompts)
    model.eval()

    def work(chunk: list[int]) -> None:
        front = _common_prefix([rows[i] for i in chunk]) if share_prefix else 0
        ids, mask = pad_rows([rows[i][front:] for i in chunk], pad, left=True)
        cached = _run_prefix(model, rows[chunk[0]][:front], len(chunk)) if front else {}
        if front:
            before = torch.tensor(rows[chunk[0]][:front]).expand(len(chunk), -1)
            ids, mask = torch.cat([before, ids], 1), torch.cat([torch.ones_like(before), mask], 1)
        room = most if limit is None else min(most, limit - ids.shape[1])
        said_line = _line_is_said(tokenizer, ids.shape[1])
        new = _decode_greedily(model, ids, mask, room, pad, ends, stopping_criteria=[said_line], **cached)
        for i, text in zip(chunk, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            said[i] = first_line(text)

    most_rows = rows_within(vocabulary(model))
    widths = [len(row) + longest for row in rows]
    _run_tight_rows_alone(widths, limit, work, budget, most_rows, advance)
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


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all rows begin with, but for the last of each, where that saves some work."""
    n = min(map(len, rows)) - 1
    same = next((k for k in range(n) if any(row[k] != rows[0][k] for row in rows)), n)
    return same if len(rows) > 1 and same >= FEWEST_SHARED else 0


def _run_prefix(model: PreTrainedModel, ids: Sequence[int], rows: int) -> dict[str, Any]:
    """Run tokens once and give their keys and values to so many rows."""
    import torch

    with torch.inference_mode():
        row = torch.tensor([list(ids)], device=model.device)
        cache = model(input_ids=row, use_cache=True, **fewest_logits(model)).past_key_values
        cache.batch_repeat_interleave(rows)
    return {"past_key_values": cache}


def _line_is_said(tokenizer: PreTrainedTokenizerBase, width: int) -> Callable[..., Tensor]:
    """Return a criterion that ends a row with its first line that says something; nothing else is read."""
    import torch

    def is_said(ids: Tensor, scores: Tensor, **options: object) -> Tensor:
        texts = tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True)
        return torch.tensor([line_is_said(text) for text in texts], device=ids.device)

    return is_said


def _run_tight_rows_alone(
    widths: Sequence[int],
    limit: int | None,
    work: Callable[[list[int]], None],
    budget: TokenBudget | None,
    most: int,
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
        most=most,
        advance=lambda done: advance(len(tight) + done),
    )


def _decode_greedily(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    room: int,
    pad: int,
    ends: frozenset[int],
    **options: Any,
) -> list[list[int]]:
    """Return the new ids of each row, cut at the first end: what follows need not be a special token."""
    import torch

    from finetune.evaluation.unembedding import contiguous_head

    with torch.inference_mode(), contiguous_head(model):
        out = model.generate(  # type: ignore[operator]
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=room,
            do_sample=False,
            num_beams=1,
            pad_token_id=pad,
            eos_token_id=sorted(ends) or None,
            **options,
        )
    rows = out[:, ids.shape[1] :].tolist()
    return [row[: next((k for k, each in enumerate(row) if each in ends), len(row))] for row in rows]


def prompt_names(prompts: Sequence[Prompt]) -> list[str]:
    """Say of each prompt what an error calls it."""
    return [f"fact {p.fact_id!r}" if p.fact_id else f"prompt {p.text[:40]!r}" for p in prompts]
