"""Greedy decoding of token rows: prefixes run once, rows without room alone, each cut at its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.data.tokenization import end_ids
from finetune.evaluation.answer_words import first_line, line_is_said
from finetune.evaluation.batching import TokenBudget, pad_id, pad_rows, run_in_batches, sliding_window
from finetune.evaluation.scoring import fewest_logits
from finetune.evaluation.unembedding import contiguous_head

FEWEST_SHARED = 16  # tokens that prompts must have in common for running them once to pay


def complete_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Sequence[int]],
    *,
    room: int,
    limit: int | None,
    share_prefix: bool,
) -> list[str]:
    """Complete rows greedily, left-padded, and return the first line of each that says something.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        rows: the prompts' tokens.
        room: how many tokens are decoded at most.
        limit: the model's context, if it is bounded.
        share_prefix: run what all rows begin with once.
    """
    pad, ends = pad_id(tokenizer, model), end_ids(model, tokenizer)
    # Padding stands between a shared prefix and the rest of a row, where a sliding window would count it.
    slides = max(map(len, rows)) + room > (sliding_window(model) or math.inf)
    front = _common_prefix(rows) if share_prefix and not slides else 0
    ids, mask = pad_rows([row[front:] for row in rows], pad, left=True)
    ids, mask, cached = _run_prefix(model, rows[0][:front], ids, mask)
    width = ids.shape[1]
    room, stop = room if limit is None else min(room, limit - width), [_line_criterion(tokenizer, width)]
    new = _decode_greedily(model, ids, mask, room, pad, ends, stopping_criteria=stop, **cached)
    return [first_line(text) for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all rows begin with, but for the last of each, where that saves some work."""
    n = min(map(len, rows)) - 1
    same = next((k for k in range(n) if any(row[k] != rows[0][k] for row in rows)), n)
    return same if len(rows) > 1 and same >= FEWEST_SHARED else 0


def _run_prefix(
    model: PreTrainedModel, prefix: Sequence[int], ids: Int[Tensor, "row pos"], mask: Int[Tensor, "row pos"]
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"], dict[str, Any]]:
    """Put tokens in front of every row and run them once; return rows, mask, and their keys and values."""
    if not prefix:
        return ids, mask, {}
    before = torch.tensor(list(prefix)).expand(len(ids), -1)
    with torch.inference_mode():
        cache = model(
            input_ids=before[:1].to(model.device), use_cache=True, **fewest_logits(model)
        ).past_key_values
        cache.batch_repeat_interleave(len(ids))
    ids, mask = torch.cat([before, ids], 1), torch.cat([torch.ones_like(before), mask], 1)
    return ids, mask, {"past_key_values": cache}


def _line_criterion(tokenizer: PreTrainedTokenizerBase, width: int) -> Callable[..., Tensor]:
    """Return a criterion that ends a row with its first line that says something; nothing else is read."""

    def is_said(ids: Tensor, scores: Tensor, **options: object) -> Tensor:
        texts = tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True)
        return torch.tensor([line_is_said(text) for text in texts], device=ids.device)

    return is_said


def run_tight_rows_alone(
    widths: Sequence[int],
    limit: int | None,
    work: Callable[[list[int]], None],
    budget: TokenBudget | None,
    most: int,
    advance: Callable[[int], None],
) -> None:
    """Run a row that the context leaves less room alone: it must not shorten its neighbours' answers.

    Args:
        widths: how many tokens each row takes.
        limit: the tokens beyond which the context leaves less room; none without it.
        work: what is done with a group of row numbers.
        budget: bound on the tokens of a group.
        most: bound on its rows.
        advance: is told how many rows are done.
    """
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
    ids: Int[Tensor, "row pos"],
    mask: Int[Tensor, "row pos"],
    room: int,
    pad: int,
    ends: frozenset[int],
    **options: Any,
) -> list[list[int]]:
    """Return the new ids of each row, cut at the first end: what follows need not be a special token."""
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
