"""Greedy decoding of token rows: prefixes run once, rows without room alone, each cut at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.data.tokenization import end_ids
from finetune.evaluation.answer_words import first_line, line_is_said
from finetune.evaluation.batching import TokenBudget, pad_id, rows_within, run_in_batches
from finetune.evaluation.cache_parity import goes_on_from_cache
from finetune.evaluation.prefixes import PrefixMemo, front_of_all, pad_behind_prefix
from finetune.evaluation.prompt_cache import PromptCache
from finetune.evaluation.unembedding import contiguous_head, vocabulary

STEPS = 6  # tokens after which rows that are done leave a batch
# Settings of a model's own that are not of greedy decoding, or count from where a call begins.
_PLAIN: dict[str, Any] = dict.fromkeys(
    (
        *("stop_strings", "penalty_alpha", "dola_layers", "prompt_lookup_num_tokens", "guidance_scale"),
        *("forced_eos_token_id", "exponential_decay_length_penalty", "encoder_repetition_penalty"),
        *("min_new_tokens", "begin_suppress_tokens"),
    )
)


def complete_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Sequence[int]],
    *,
    room: int,
    limit: int | None,
    front: int = 0,
    memo: PrefixMemo | None = None,
) -> list[str]:
    """Complete rows greedily, left-padded, and return the first line of each that says something.

    Args:
        model: the model as Hugging Face loads it.
        tokenizer: the model's own fast tokenizer.
        rows: the prompts' tokens.
        room: how many tokens are decoded at most.
        limit: the model's context, if it is bounded.
        front: how many tokens all rows begin with, which are run once.
        memo: what was run before.
    """
    pad = pad_id(tokenizer, model)
    ids, mask, cache = pad_behind_prefix(model, rows, pad, front, memo)
    return _complete(model, tokenizer, ids, mask, cache, room=room, limit=limit)


def complete_cached(
    prompts: PromptCache, tokenizer: PreTrainedTokenizerBase, *, room: int, limit: int | None
) -> list[str]:
    """Complete prompts that were run already, as :func:`complete_rows` does; what is kept is used up.

    Their last tokens are run again, so that a model's own settings of decoding hold from the first new one.

    Args:
        prompts: what is kept of them.
        tokenizer: the model's own fast tokenizer.
        room: how many tokens are decoded at most.
        limit: the model's context, if it is bounded.
    """
    prompts.kept.crop(-1)
    model, ids, mask = prompts.model, prompts.ids, prompts.mask
    return _complete(model, tokenizer, ids, mask, prompts.kept, room=room, limit=limit)


def _complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Int[Tensor, "row pos"],
    mask: Int[Tensor, "row pos"],
    cache: Any,
    *,
    room: int,
    limit: int | None,
) -> list[str]:
    """Decode behind left-padded rows, of which the cache has a beginning, and read each one's first line."""
    pad, ends, width = pad_id(tokenizer, model), end_ids(model, tokenizer), ids.shape[1]
    room = room if limit is None else min(room, limit - width)
    new = _decode_greedily(model, ids, mask, room, pad, ends, _line_criterion(tokenizer, width), cache)
    return [first_line(text) for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def _line_criterion(tokenizer: PreTrainedTokenizerBase, width: int) -> Callable[..., Tensor]:
    """Return a criterion that ends a row with its first line that says something; nothing else is read."""

    def is_said(ids: Tensor, scores: Tensor, **options: object) -> Tensor:
        texts = tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True)
        return torch.tensor([line_is_said(text) for text in texts], device=ids.device)

    return is_said


def complete_in_batches(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    complete: Callable[..., list[str]],
    *,
    longest: int,
    room: int,
    limit: int | None,
    memo: PrefixMemo | None = None,
    budget: TokenBudget | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Complete token rows in batches, by a function that is given some rows and how to complete them.

    Args:
        model: the plain model.
        rows: the prompts' tokens.
        complete: returns the lines of some rows, given their numbers and tokens, ``room``, ``limit`` and
            ``front``, how many tokens these begin with alike.
        longest: how many tokens are run behind a row: one without room for as many goes alone.
        room: how many are decoded at most.
        limit: the model's context, if it is bounded.
        memo: what was run before; nothing is shared without it.
        budget: bound on the tokens of one forward pass.
        advance: is told how many rows are done.
    """
    said, front = [""] * len(rows), front_of_all(model, rows, max(room, longest), memo)
    model.eval()

    def work(chunk: list[int]) -> None:
        some = [rows[i] for i in chunk]
        lines = complete(chunk, some, room=room, limit=limit, front=front(chunk))
        for i, text in zip(chunk, lines, strict=True):
            said[i] = text

    widths = [len(row) + longest for row in rows]
    run_tight_rows_alone(widths, limit, work, budget, rows_within(vocabulary(model)), advance)
    return said


def run_tight_rows_alone(
    widths: Sequence[int],
    limit: int | None,
    work: Callable[[list[int]], None],
    budget: TokenBudget | None,
    most: int,
    advance: Callable[[int], None] = lambda done: None,
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
    is_said: Callable[..., Tensor],
    cache: Any,
) -> list[list[int]]:
    """Return the new ids of each row, cut at the first end: what follows need not be a special token.

    Rows that are done leave the batch every ``STEPS`` tokens: one that rambles would keep all others in it.
    Models that cannot go on from a part of their cache are run to the end at once.
    """
    width, steps = ids.shape[1], STEPS if goes_on_from_cache(model) else room
    new: list[list[int]] = [[] for _ in ids]
    left, end = list(range(len(ids))), width + room
    while left and ids.shape[1] < end:
        with torch.inference_mode(), contiguous_head(model):
            out = model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=min(steps, end - ids.shape[1]),
                do_sample=False,
                num_beams=1,
                token_healing=False,
                **_PLAIN,
                pad_token_id=pad,
                eos_token_id=sorted(ends) or None,
                stopping_criteria=[is_said],
                return_dict_in_generate=True,
                # A model's own settings may ask for none, or for one of fixed shape that lets no row go.
                use_cache=True,
                cache_implementation=None,
                **({} if cache is None else {"past_key_values": cache}),
            )
        done = is_said(out.sequences, ())
        rows = out.sequences[:, width:].tolist()
        for k, row in zip(left, rows, strict=True):
            new[k] = row[: next((n for n, each in enumerate(row) if each in ends), len(row))]
        going = [j for j, row in enumerate(rows) if not done[j] and ends.isdisjoint(row)]
        left, before = [left[j] for j in going], mask.shape[1]
        ids, mask, cache = out.sequences[going], mask[going], out.get("past_key_values")
        mask = torch.cat([mask, mask.new_ones(len(mask), ids.shape[1] - before)], 1)
        if left and ids.shape[1] < end and cache is not None:
            cache.batch_select_indices(torch.tensor(going, device=ids.device))
    return new
