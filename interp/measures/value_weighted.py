"""Value-weighted attention: the norm of what each head writes from the subject's tokens at the last token.

``values[f, l, h] = || sum over the subject's tokens s of pattern[last, s] v(s) W_O ||``, and ``total`` the
same over the whole prompt. Attention to a token whose value is small moves nothing; an attention sink is
such a token, which is why models use it (Kobayashi et al. 2020, "Attention is Not Only a Weight"). Norms are
of what leaves W_O, before a bias and before a norm that a model may apply to attention's output.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.measures.attention import chunk_batch
from interp.measures.head_readers import read_sources, source_rows
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.models.identity import model_fingerprint


@dataclass(frozen=True, kw_only=True)
class ValueWeightedAttention(Result):
    """Norms of what heads write at the last prompt token: from the subject, and from all tokens."""

    values: Float[Tensor, "fact layer head"]
    total: Float[Tensor, "fact layer head"]

    def to_frame(self) -> pd.DataFrame:
        """One row per fact, layer and head."""
        _, layers, heads = self.values.shape
        axes = {"fact_id": self.fact_ids, "layer": range(layers), "head": range(heads)}
        return long_frame(axes, {"value_weighted": self.values, "total": self.total})


@torch.inference_mode()
def value_weighted_attention(
    model: TransformerBridge, batch: PromptBatch, *, batch_tokens: int = 8192, progress: str | None = None
) -> ValueWeightedAttention:
    """Measure how much of each head's output at the last prompt token comes from the subject.

    Args:
        model: any bridge; nothing is edited.
        batch: the encoded prompts.
        batch_tokens: bound on the tokens of one forward pass.
        progress: what to call the work in a progress bar.
    """
    shape = (len(batch), model.cfg.n_layers, model.cfg.n_heads)
    norms = {name: torch.zeros(shape) for name in ("used", "everything")}
    # |x W_O|^2 = x (W_O W_O^T) x, which needs d_head^2 numbers a head and no vector of the residual stream.
    written = [block.attn.W_O.float() for block in model.blocks]
    squares = [einsum(w, w, "head a d_model, head b d_model -> head a b") for w in written]
    for index, chunk in chunk_batch(batch, batch_tokens, progress, rows=source_rows(model)):
        sources = read_sources(model, chunk)
        for name, found in norms.items():
            for layer, square in enumerate(squares):
                read = getattr(sources, name)[:, layer].to(square.device)
                size = einsum(read, square, read, "fact head a, head a b, fact head b -> fact head")
                found[index, layer] = size.clamp_min(0).sqrt().cpu()
    norms["used"][batch.sunk] = torch.nan  # the first token is a sink, whose values are not the subject's
    return ValueWeightedAttention(
        values=norms["used"],
        total=norms["everything"],
        fact_ids=batch.fact_ids,
        model=model_fingerprint(model),
    )
