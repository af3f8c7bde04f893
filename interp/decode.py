"""Greedy answers of a hooked model, with interventions held at their prompt positions throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from interp.attention import Hook
from interp.spans import PromptBatch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


def greedy(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int,
    hooks: Sequence[Hook] = (),
) -> list[str]:
    """Complete right-padded prompts token by token until EOS or a line's end.

    Each new token is written behind its row's last one, so the prompt keeps its positions and a hook that
    edits a prompt position edits the same one at every step.
    """
    device = next(model.parameters()).device
    n = len(batch)
    fill = torch.zeros(n, max_new_tokens, dtype=torch.long)
    ids = torch.cat([batch.input_ids, fill], dim=1).to(device)
    mask = torch.cat([batch.attention_mask, fill], dim=1).to(device)
    row, at = torch.arange(n, device=device), batch.last.to(device)
    said = torch.zeros(n, max_new_tokens, dtype=torch.long)
    ended = torch.zeros(n, dtype=torch.bool)
    for step in range(max_new_tokens):
        width = int(at.max()) + 1
        with torch.inference_mode():
            logits = model.run_with_hooks(
                ids[:, :width], attention_mask=mask[:, :width], fwd_hooks=list(hooks), use_cache=False
            )
        token = logits[row, at].argmax(-1)
        at = at + 1
        ids[row, at], mask[row, at] = token, 1
        said[:, step] = token.cpu()
        ended |= said[:, step] == tokenizer.eos_token_id
        if ended.all():
            break
    return [_text(tokenizer, tokens) for tokens in said[:, : step + 1].tolist()]


def _text(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> str:
    if tokenizer.eos_token_id in tokens:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id)]
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip().split("\n")[0].strip()
