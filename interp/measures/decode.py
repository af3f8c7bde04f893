"""Greedy decoding of a hooked model under interventions on the prompt, and answers as tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.data.tokenization import end_ids, tokenize_with_answer
from finetune.evaluation.answer_words import first_line
from interp.measures.attention import Hook
from interp.measures.context import require_room
from interp.measures.spans import PromptBatch


def greedy(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int,
    hooks: Sequence[Hook] = (),
) -> list[str]:
    """Complete right-padded prompts token by token until a line's or the sequence's end.

    A sequence ends at any of :func:`finetune.data.tokenization.end_ids`.
    Each new token is written behind its row's last one, so the prompt keeps its positions and a hook that
    edits a prompt position edits the same one at every step.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        tokenizer: the model's own fast tokenizer.
        max_new_tokens: how many tokens at most.
        hooks: interventions on the prompt.

    Raises:
        InputError: no token is allowed, or a prompt leaves no room for one.
    """
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens = {max_new_tokens}: an answer needs at least 1")
    limit, device = require_room(model, batch, 1), next(model.parameters()).device
    n = len(batch)
    ids, mask = (part.to(device) for part in _with_room(batch, max_new_tokens))
    row, at = torch.arange(n, device=device), batch.last.to(device)
    said = torch.zeros(n, max_new_tokens, dtype=torch.long)
    ended, ends = torch.zeros(n, dtype=torch.bool), end_ids(model, tokenizer)
    last = torch.tensor(sorted(ends), dtype=torch.long)
    for step in range(max_new_tokens):
        width = int(at.max()) + 1
        if limit is not None and width > limit:
            break
        with torch.inference_mode():
            logits = model.run_with_hooks(
                ids[:, :width], attention_mask=mask[:, :width], fwd_hooks=list(hooks), use_cache=False
            )
        token = logits[row, at].argmax(-1)
        at = at + 1
        ids[row, at], mask[row, at] = token, 1
        said[:, step] = token.cpu()
        written = step + 1
        ended |= torch.isin(said[:, step], last)
        if ended.all():
            break
    return [text_of(tokenizer, tokens, ends) for tokens in said[:, :written].tolist()]


def answer_tokens(tokenizer: PreTrainedTokenizerBase, batch: PromptBatch) -> list[tuple[int, ...]]:
    """Return the token ids of each prompt's canonical answer, as they stand behind the prompt.

    Raises:
        InputError: a prompt has no answer.
    """
    for prompt in batch.prompts:
        if not prompt.answers:
            raise InputError(f"fact {prompt.fact_id!r}: has no answer to score; leave it out or give it one")
    answers = [p.answers[0] for p in batch.prompts]
    pairs = tokenize_with_answer(tokenizer, batch.prompts, answers, batch.token_rows())
    return [answer for _, answer in pairs]


def _with_room(batch: PromptBatch, room: int) -> tuple[Int[Tensor, "fact pos"], Int[Tensor, "fact pos"]]:
    """Copy a batch's ids and attention mask with ``room`` more masked positions behind."""
    more = torch.zeros(len(batch), room, dtype=torch.long)
    return torch.cat([batch.input_ids, more], dim=1), torch.cat([batch.attention_mask, more], dim=1)


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: list[int], ends: frozenset[int]) -> str:
    """Decode an answer: up to the first of the ids that end it, and its first line that says something."""
    tokens = tokens[: next((i for i, token in enumerate(tokens) if token in ends), len(tokens))]
    return first_line(str(tokenizer.decode(tokens, skip_special_tokens=True)))
