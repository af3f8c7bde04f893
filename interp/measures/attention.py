"""Subject attention: how much of the last prompt token's attention goes to the subject, by layer and head.

``mass[f, l, h] = sum over the subject's tokens s of pattern[f, l, h, last, s]``. The first token (BOS) often
draws most attention whatever the prompt, so the mass is also given with BOS left out and the rest
renormalised: ``mass / (1 - pattern[..., BOS])``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from finetune.common.errors import InputError
from finetune.common.progress import progress_bar
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.models.identity import model_fingerprint

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

Row = Float[Tensor, "fact layer head pos"]
BLOCKS = ("subject", "relation", "bos", "rest")
Hook = tuple[str | Callable[..., Any], Callable[..., Any]]


@dataclass(frozen=True, kw_only=True)
class AttentionMass(Result):
    """Attention of the last prompt token, by where it goes: every tensor is Float [fact, layer, head].

    ``values`` is the mass on the subject and ``without_bos`` the same with special tokens left out and the
    rest renormalised. With ``values``, the masses on ``bos`` (all special tokens), on ``relation`` (the
    prompt's other words) and on ``rest`` (the last token itself) add up to one.
    """

    values: Float[Tensor, "fact layer head"]
    without_bos: Float[Tensor, "fact layer head"]
    bos: Float[Tensor, "fact layer head"]
    relation: Float[Tensor, "fact layer head"]
    rest: Float[Tensor, "fact layer head"]

    def to_frame(self) -> pd.DataFrame:
        """One row per fact, layer and head."""
        _, layers, heads = self.values.shape
        columns = {n: getattr(self, n) for n in ("without_bos", "bos", "relation", "rest")}
        return long_frame(
            {"fact_id": self.fact_ids, "layer": range(layers), "head": range(heads)},
            {"subject": self.values, **columns},
        )


def subject_attention(
    model: TransformerBridge, batch: PromptBatch, *, batch_tokens: int = 8192, progress: str | None = None
) -> AttentionMass:
    """Measure subject-attention mass; memory is bounded by ``batch_tokens``, not by the number of facts.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        batch_tokens: bound on the tokens of one forward pass, and so on memory.
        progress: names the work beside a progress bar; without it there is none.
    """
    shape = (len(batch), model.cfg.n_layers, model.cfg.n_heads)
    mass = {block: torch.zeros(shape) for block in BLOCKS}
    for index, chunk in chunk_batch(batch, batch_tokens, progress):
        rows = last_row_patterns(model, chunk)
        for block, mask in blocks(chunk).items():
            mass[block][index] = row_mass(rows, mask)
    subject, bos = mass["subject"], mass["bos"]
    return AttentionMass(
        values=subject,
        # Where all attention is on BOS there is nothing to renormalise, and the subject's share is 0.
        without_bos=torch.where(bos < 1, subject / (1 - bos).clamp_min(1e-12), torch.zeros(())).clamp(0, 1),
        bos=bos,
        relation=mass["relation"],
        rest=mass["rest"],
        fact_ids=batch.fact_ids,
        model=model_fingerprint(model),
    )


def chunk_batch(
    batch: PromptBatch, batch_tokens: int, progress: str | None = None
) -> Iterator[tuple[Int[Tensor, " row"], PromptBatch]]:
    """Yield a batch's chunks with their rows, under a progress bar if the work is given a name."""
    done = 0
    with progress_bar(progress, total=len(batch)) if progress else nullcontext(lambda done: None) as advance:
        for index, chunk in batch.chunks(batch_tokens):
            yield index, chunk
            done += len(index)
            advance(done)


def blocks(batch: PromptBatch) -> dict[str, Bool[Tensor, "fact pos"]]:
    """Mark the tokens of each of ``BLOCKS``; they are disjoint and cover the prompt."""
    rest = batch.last_mask & ~batch.subject_mask & ~batch.special_mask
    masks = (batch.subject_mask, batch.relation_mask, batch.special_mask, rest)
    return dict(zip(BLOCKS, masks, strict=True))


def indices(name: str, chosen: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Return which of ``count`` layers or heads are meant: the chosen ones, or all.

    Raises:
        InputError: none, or one that the model has not.
    """
    wanted = tuple(range(count)) if chosen is None else tuple(int(i) for i in chosen)
    if not wanted or not all(0 <= i < count for i in wanted):
        raise InputError(f"{name} = {list(wanted)}: choose from 0 to {count - 1}")
    return wanted


def row_mass(rows: Row, mask: Bool[Tensor, "fact pos"]) -> Float[Tensor, "fact layer head"]:
    """Sum attention rows over marked positions."""
    return einsum(rows, mask.to(rows.dtype), "fact layer head pos, fact pos -> fact layer head")


def last_row_patterns(model: TransformerBridge, batch: PromptBatch) -> Row:
    """Return the attention row of each prompt's last token; full patterns are never kept.

    The pass ends at the last layer's pattern: its MLP and the logits of every position are never computed.
    """
    layers = model.cfg.n_layers
    rows = torch.zeros(len(batch), layers, model.cfg.n_heads, batch.input_ids.shape[1])
    fact = torch.arange(len(batch))

    def keep(pattern: Float[Tensor, "fact head query key"], hook: object, layer: int) -> None:
        rows[:, layer] = pattern[fact, :, batch.last].float().cpu()
        if layer == layers - 1:
            raise StopAtLayerException(pattern)

    run_hooked(model, batch, [(name, _at(keep, layer)) for layer, name in pattern_hooks(model)])
    return rows


def full_patterns(model: TransformerBridge, batch: PromptBatch) -> Float[Tensor, "fact layer head query key"]:
    """Return whole attention patterns, for pictures of a few prompts; the pass ends at the last layer's."""
    kept: dict[int, Tensor] = {}

    def keep(pattern: Tensor, hook: object, layer: int) -> None:
        kept[layer] = pattern.float().cpu()
        if layer == model.cfg.n_layers - 1:
            raise StopAtLayerException(pattern)

    run_hooked(model, batch, [(name, _at(keep, layer)) for layer, name in pattern_hooks(model)])
    return torch.stack([kept[layer] for layer in sorted(kept)], dim=1)


def pattern_hooks(model: TransformerBridge) -> Iterator[tuple[int, str]]:
    """Yield (layer, hook name) of every attention pattern."""
    return ((layer, f"blocks.{layer}.attn.hook_pattern") for layer in range(model.cfg.n_layers))


def last_token_logits(
    model: TransformerBridge, batch: PromptBatch, hooks: Sequence[Hook]
) -> Float[Tensor, "fact vocab"]:
    """Run prompts with hooks and return the logits at each last token."""
    logits = run_hooked(model, batch, hooks)
    fact: Int[Tensor, " fact"] = torch.arange(len(batch), device=logits.device)
    return logits[fact, batch.last.to(logits.device)].float()


def run_hooked(model: TransformerBridge, batch: PromptBatch, hooks: Sequence[Hook]) -> Tensor:
    """Run prompts with hooks and return what comes out: all logits, or where a hook stopped the pass."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        output: Tensor = model.run_with_hooks(
            batch.input_ids.to(device),
            attention_mask=batch.attention_mask.to(device),
            fwd_hooks=list(hooks),
            use_cache=False,
        )
    return output


def _at(function: Callable[..., Tensor | None], layer: int) -> Callable[..., Tensor | None]:
    return lambda activation, hook: function(activation, hook, layer)
