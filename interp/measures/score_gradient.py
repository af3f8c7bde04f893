"""Harm score: whether a fine-tuning step on a fact pushes attention off its subject.

1. Add a shift to the scores that the last prompt token gives to the subject's tokens, one per layer and head.
2. Minus the derivative, at a shift of zero, of the loss on the answer's first token is m: below zero, a step
   pushes attention off the subject. It is exact, by a backward pass: every path from a head to the logits
   counts, through later layers and norms.

In one attention layer without a final norm m has a closed form, ``mass (1 - mass) (s_rel - p_rel)``, where
``s_rel`` and ``p_rel`` are what the attention-weighted mean values of the subject and of the rest of the
prompt add to the answer's log-probability. :func:`direct_path_score` takes it to any model. In deep ones it
counts each head's direct path only, and over heads its ranks have little to do with m's (SmolLM2: 0.19), so
nothing rests on it but the comparison of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from interp.measures.attention import Hook, chunk_batch, logit_rows, pattern_hooks, read_at
from interp.measures.decode import answer_tokens
from interp.measures.head_readers import HeadSources, read_sources, readers, source_rows
from interp.measures.result import Result, long_frame
from interp.measures.softmax_sinks import sink_share
from interp.measures.spans import PromptBatch
from interp.models.edit_check import require_edits
from interp.models.identity import model_fingerprint


@dataclass(frozen=True, kw_only=True)
class HarmScore(Result):
    """m of each fact as a fine-tuning example (nats per unit of attention score), summed and per head."""

    values: Float[Tensor, " fact"]
    per_head: Float[Tensor, "fact layer head"]

    def to_frame(self) -> pd.DataFrame:
        """One row per fact."""
        return long_frame({"fact_id": self.fact_ids}, {"harm_score": self.values})


def harm_score(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_tokens: int = 8192,
    progress: str | None = None,
) -> HarmScore:
    """Score each fact as a fine-tuning example by m, on the answer's first token.

    Where the attention scores of all the subject's tokens at the last position rise by e, in every head, the
    loss falls by m times e, to first order. NaN where a prompt begins with its subject, a sink.

    Args:
        model: a bridge that acts on edited patterns.
        batch: prompts with their answers.
        tokenizer: the model's own.
        batch_tokens: bound on the tokens of a forward and backward pass.
        progress: what to call the work in a progress bar.

    Raises:
        InterventionError: the model ignores edits of its attention, so that nothing would move the loss.
    """
    require_edits(model)
    answers = torch.tensor([ids[0] for ids in answer_tokens(tokenizer, batch)])
    per_head = torch.zeros(len(batch), model.cfg.n_layers, model.cfg.n_heads)
    for index, chunk in chunk_batch(batch, batch_tokens, progress, rows=logit_rows(model)):
        per_head[index] = _slopes(model, chunk, answers[index]).cpu()
    per_head[batch.sunk] = torch.nan
    return HarmScore(
        values=per_head.sum((1, 2)),
        per_head=per_head,
        fact_ids=batch.fact_ids,
        model=model_fingerprint(model),
    )


def direct_path_score(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_tokens: int = 8192,
) -> Float[Tensor, "fact layer head"]:
    """Return the closed form of m per head: exact in one layer without norms, unvalidated in any other.

    Args:
        model: the hooked model; it must act on edited patterns (:mod:`interp.models.edit_check`).
        batch: the encoded prompts.
        tokenizer: the model's own fast tokenizer.
        batch_tokens: bound on the tokens of one forward pass.
    """
    answers = torch.tensor([ids[0] for ids in answer_tokens(tokenizer, batch)])
    per_head = torch.zeros(len(batch), model.cfg.n_layers, model.cfg.n_heads)
    for index, chunk in chunk_batch(batch, batch_tokens, rows=source_rows(model)):
        sources = read_sources(model, chunk)
        residual = _residual(model, sources.logits, answers[index])
        per_head[index] = _harm(model, sources, residual).cpu()
    per_head[batch.sunk] = torch.nan
    return per_head


def _slopes(
    model: TransformerBridge, batch: PromptBatch, answers: Int[Tensor, " fact"]
) -> Float[Tensor, "fact layer head"]:
    device = next(model.parameters()).device
    shape = (len(batch), model.cfg.n_layers, model.cfg.n_heads)
    with torch.enable_grad():
        shift = torch.zeros(shape, device=device, requires_grad=True)
        hooks: list[Hook] = [(name, _shifted(batch, shift[:, layer])) for layer, name in pattern_hooks(model)]
        logits = model.run_with_hooks(
            batch.input_ids.to(device),
            attention_mask=batch.attention_mask.to(device),
            fwd_hooks=[*hooks, read_at(batch.last[:, None], batch.input_ids.shape[1])],
            use_cache=False,
        )
        gained = logits[:, 0].float().log_softmax(-1).gather(-1, answers.to(device)[:, None]).sum()
        (slope,) = torch.autograd.grad(gained, shift)
    return slope


def _shifted(batch: PromptBatch, shift: Float[Tensor, "fact head"]) -> Callable[..., Tensor]:
    """Return a hook that adds a shift to the subject's scores in the last token's row of a pattern."""
    fact = torch.arange(len(batch))

    def edit(pattern: Float[Tensor, "fact head query key"], hook: object) -> Tensor:
        row = pattern[fact, :, batch.last]
        scores = shift[:, :, None] * batch.subject_mask[:, None].to(row)
        raised = row * scores.exp()
        edited = pattern.clone()
        # A sink in the softmax (GPT-OSS) takes what the row leaves.
        edited[fact, :, batch.last] = raised / (raised.sum(-1, keepdim=True) + sink_share(row))
        return edited

    return edit


def _residual(
    model: TransformerBridge, logits: Float[Tensor, "fact vocab"], answers: Int[Tensor, " fact"]
) -> Float[Tensor, "fact vocab"]:
    """Return d log p(answer) / d logits: one-hot minus softmax, through a softcap where there is one."""
    with torch.inference_mode(False), torch.enable_grad():
        raw = logits.clone().requires_grad_()
        log_probs = model.adapter.apply_output_logits_transform(raw).log_softmax(-1)
        chosen = log_probs.gather(-1, answers.to(raw.device)[:, None]).sum()
        return torch.autograd.grad(chosen, raw)[0]


@torch.inference_mode()
def _harm(
    model: TransformerBridge, sources: HeadSources, residual: Float[Tensor, "fact vocab"]
) -> Float[Tensor, "fact layer head"]:
    """Return mass (1 - mass) (s_rel - p_rel), which is used_rel - mass * everything_rel."""
    direction = residual @ model.W_U.float().T
    scores = []
    for layer in range(model.cfg.n_layers):
        mass = rearrange(sources.mass[:, layer], "fact head -> fact head 1")
        moved = sources.used[:, layer] - mass * sources.everything[:, layer]
        reader = readers(model, layer, direction).to(moved.device)
        score = einsum(moved, reader, "fact head d, fact head d -> fact head")
        scores.append(score / rearrange(sources.scale(layer), "fact -> fact 1"))
    return torch.stack(scores, dim=1)
