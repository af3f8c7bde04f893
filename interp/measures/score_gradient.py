"""The exact counterpart of the harm score: the loss's derivative in the subject's attention scores.

1. Add a shift to the scores that the last prompt token gives to the subject's tokens, one per layer and head.
2. Minus the derivative, at a shift of zero, of the loss on the answer's first token is m: below zero, a step
   pushes attention off the subject.

Unlike :func:`interp.measures.value_readout.harm_score` it counts every path from a head to the logits,
through later layers and norms; it costs a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.measures.attention import Hook, chunk_batch, pattern_hooks
from interp.measures.decode import answer_tokens
from interp.measures.spans import PromptBatch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


def score_gradient(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_tokens: int = 8192,
) -> Float[Tensor, "fact layer head"]:
    """Return m of each fact and head by automatic differentiation, in nats per unit of attention score.

    Args:
        model: the hooked model; it must act on edited patterns (:mod:`interp.models.edit_check`).
        batch: the encoded prompts.
        tokenizer: the model's own fast tokenizer.
        batch_tokens: bound on the tokens of one forward pass.
    """
    answers = torch.tensor([ids[0] for ids in answer_tokens(tokenizer, batch)])
    result = torch.zeros(len(batch), model.cfg.n_layers, model.cfg.n_heads)
    for index, chunk in chunk_batch(batch, batch_tokens):
        device = next(model.parameters()).device
        with torch.enable_grad():
            shift = torch.zeros(result[index].shape, device=device, requires_grad=True)
            hooks: list[Hook] = [
                (name, _shifted(chunk, shift[:, layer])) for layer, name in pattern_hooks(model)
            ]
            logits = model.run_with_hooks(
                chunk.input_ids.to(device),
                attention_mask=chunk.attention_mask.to(device),
                fwd_hooks=hooks,
                use_cache=False,
            )
            fact = torch.arange(len(chunk), device=device)
            at_last = logits[fact, chunk.last.to(device)].float()
            gained = at_last.log_softmax(-1)[fact, answers[index].to(device)].sum()
            (slope,) = torch.autograd.grad(gained, shift)
        result[index] = slope.cpu()
    return result


def _shifted(batch: PromptBatch, shift: Float[Tensor, "fact head"]) -> Callable[..., Tensor]:
    """Return a hook that adds a shift to the subject's scores in the last token's row of a pattern."""
    fact = torch.arange(len(batch))

    def edit(pattern: Float[Tensor, "fact head query key"], hook: object) -> Tensor:
        row = pattern[fact, :, batch.last]
        scores = shift[:, :, None] * batch.subject_mask[:, None].to(row)
        raised = row * scores.exp()
        edited = pattern.clone()
        edited[fact, :, batch.last] = raised / raised.sum(-1, keepdim=True)
        return edited

    return edit
