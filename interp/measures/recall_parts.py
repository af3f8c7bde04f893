"""Factual recall in parts: enrichment of the subject, extraction by attention, MLPs at the last token.

After Geva et al., "Dissecting Recall of Factual Associations in Auto-Regressive Language Models" (2023), by
direct logit attribution with the final norm held at its scale. The quantity is the right answer's logit less
the mean logit of its relation's answers.

1. At the last prompt token the residual stream is a sum, so the difference is one too:
   ``embedding + sum over layers of (extraction + attention_elsewhere + mlp) + constant``. ``extraction`` is
   what heads read from the subject's tokens, ``attention_elsewhere`` what they read from all others and
   their bias, and ``mlp`` whatever else a layer adds.
2. ``enrichment`` is the same difference read off the residual stream at the subject's *last* token, entering
   each layer and leaving the last, with that token's own norm (a logit lens).
3. ``surfaces`` is the first depth from which on the right answer stays the first of its set in the logit lens
   at the last prompt token; -1 where it is not the first in the end.

Measure both models on the same prompts and subtract. Logits are the unembedding's, before a softcap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerBase

from interp.measures.answer_sets import AnswerSet, answer_sets_of
from interp.measures.attention import Hook, chunk_batch
from interp.measures.head_readers import (
    HeadSources,
    is_norm,
    read_sources,
    readers,
    source_rows,
    through_norm,
)
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.models.identity import model_fingerprint

LAYERWISE = ("extraction", "attention_elsewhere", "mlp")
Residuals = Float[Tensor, "fact depth d_model"]


@dataclass(frozen=True, kw_only=True)
class RecallParts(Result):
    """Where a model's preference for the right answer comes from, in logits; depth d enters layer d."""

    extraction: Float[Tensor, "fact layer"]
    attention_elsewhere: Float[Tensor, "fact layer"]
    mlp: Float[Tensor, "fact layer"]
    embedding: Float[Tensor, " fact"]
    constant: Float[Tensor, " fact"]
    logit_difference: Float[Tensor, " fact"]
    enrichment: Float[Tensor, "fact depth"]
    surfaces: Int[Tensor, " fact"]

    def to_frame(self) -> pd.DataFrame:
        """One row per fact and layer, with the enrichment that leaves the layer."""
        axes = {"fact_id": self.fact_ids, "layer": range(self.mlp.shape[1])}
        columns = {name: getattr(self, name) for name in LAYERWISE}
        return long_frame(axes, {**columns, "enrichment": self.enrichment[:, 1:]})

    def facts_frame(self) -> pd.DataFrame:
        """One row per fact: each part summed over layers, their total, and where the answer surfaces."""
        sums = {name: getattr(self, name).sum(1) for name in LAYERWISE}
        others = ("embedding", "constant", "logit_difference", "surfaces")
        return long_frame({"fact_id": self.fact_ids}, sums | {name: getattr(self, name) for name in others})


def recall_parts(
    model: TransformerBridge,
    batch: PromptBatch,
    tokenizer: PreTrainedTokenizerBase,
    answer_sets: Mapping[str, Sequence[str]],
    *,
    batch_tokens: int = 8192,
    progress: str | None = None,
) -> RecallParts:
    """Split each fact's logit difference into the parts of its recall.

    Args:
        model: any bridge; nothing is edited.
        batch: prompts with answers and relations.
        tokenizer: the model's own.
        answer_sets: the possible answers of every relation, told apart by their first tokens.
        batch_tokens: bound on the tokens of one forward pass.
        progress: what to call the work in a progress bar.

    Raises:
        InputError: a relation without an answer set, or an answer that is not in its set.
    """
    sets = answer_sets_of(tokenizer, batch, answer_sets, "first")
    n, layers = len(batch), model.cfg.n_layers
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(LAYERWISE, (n, layers))
    shapes |= dict.fromkeys(("embedding", "constant", "logit_difference"), (n,))
    shapes["enrichment"] = (n, layers + 1)
    found = {name: torch.zeros(shape) for name, shape in shapes.items()} | {"surfaces": torch.zeros(n).long()}
    for index, chunk in chunk_batch(batch, batch_tokens, progress, rows=source_rows(model)):
        for name, values in _parts(model, chunk, sets).items():
            found[name][index] = values.cpu()
    for name in ("extraction", "attention_elsewhere"):  # told apart by the subject, here a sink
        found[name][batch.sunk] = torch.nan
    return RecallParts(**found, fact_ids=batch.fact_ids, model=model_fingerprint(model))


@torch.inference_mode()
def _parts(
    model: TransformerBridge, batch: PromptBatch, sets: Mapping[str, AnswerSet]
) -> dict[str, Float[Tensor, "fact ..."]]:
    last_subject = (batch.subject_mask * torch.arange(1, batch.input_ids.shape[1] + 1)).argmax(1)
    at_last, hooks_last = _residuals(model, batch.last)
    at_subject, hooks_subject = _residuals(model, last_subject)
    sources = read_sources(model, batch, hooks=[*hooks_last, *hooks_subject])
    after, subject = torch.stack(at_last, 1), torch.stack(at_subject, 1)
    chosen = [sets[prompt.relation] for prompt in batch.prompts]
    gold = [each.place[p.answers[0]] for each, p in zip(chosen, batch.prompts, strict=True)]
    rows = {relation: sets[relation].directions(model) for relation in {p.relation for p in batch.prompts}}
    reading = [(rows[p.relation], model.b_U.float()[sets[p.relation].first_tokens]) for p in batch.prompts]
    directions = torch.stack([some[g] - some.mean(0) for (some, _), g in zip(reading, gold, strict=True)])
    parts = _attribution(model, sources, after, directions)
    of_set = [sources.logits[i, each.first_tokens] for i, each in enumerate(chosen)]
    parts["logit_difference"] = _over_mean(of_set, gold)[0]
    parts["constant"] = parts["constant"] + _over_mean([bias for _, bias in reading], gold)[0]
    parts["enrichment"] = _lens(model, subject, reading, gold)[0]
    first = (_lens(model, after, reading, gold)[1] == 0).long().flip(1).cumprod(1).sum(1)
    parts["surfaces"] = torch.where(first > 0, after.shape[1] - first, -1)
    return parts


def _residuals(model: TransformerBridge, place: Int[Tensor, " fact"]) -> tuple[list[Tensor], list[Hook]]:
    """Return hooks that keep the residual stream at some place, entering each layer and leaving the last."""
    kept: list[Tensor] = []
    fact, layers = torch.arange(len(place)), model.cfg.n_layers

    def keep(residual: Tensor, hook: object) -> None:
        kept.append(residual[fact, place].float())

    names = [*(f"blocks.{layer}.hook_in" for layer in range(layers)), f"blocks.{layers - 1}.hook_out"]
    return kept, [(name, keep) for name in names]


def _attribution(
    model: TransformerBridge,
    sources: HeadSources,
    after: Residuals,
    directions: Float[Tensor, "fact d_model"],
) -> dict[str, Tensor]:
    """Attribute the logit along each fact's direction to what the last token's residual stream is made of."""
    norm, scale = model.ln_final, sources.final_scale[:, None]
    before = through_norm(norm, directions)
    read = einsum(after, before, "fact depth d, fact d -> fact depth") / scale
    extraction, attention = [], []
    for layer in range(model.cfg.n_layers):
        reader = readers(model, layer, directions)
        used, everything = (
            einsum(part[:, layer], reader, "fact head d, fact head d -> fact") / sources.scale(layer)
            for part in (sources.used, sources.everything)
        )
        bias = getattr(getattr(model.blocks[layer].attn, "o", None), "bias", None)
        if bias is not None:
            gain = getattr(model.blocks[layer], "residual_contribution_scale", 1.0)
            everything = everything + gain * (before @ bias.float()) / sources.final_scale
        extraction.append(used)
        attention.append(everything)
    extracted, attended = torch.stack(extraction, 1), torch.stack(attention, 1)
    shift = getattr(norm, "bias", None) if is_norm(norm) and not norm.uses_rms_norm else None
    constant = torch.zeros_like(read[:, 0]) if shift is None else directions @ shift.float()
    return {
        "extraction": extracted,
        "attention_elsewhere": attended - extracted,
        "mlp": read.diff(dim=1) - attended,
        "embedding": read[:, 0],
        "constant": constant,
    }


def _lens(
    model: TransformerBridge,
    residual: Residuals,
    reading: Sequence[tuple[Float[Tensor, "answer d_model"], Float[Tensor, " answer"]]],
    gold: Sequence[int],
) -> tuple[Float[Tensor, "fact depth"], Int[Tensor, "fact depth"]]:
    """Read each depth through the final norm: the answer's logit over its set's mean, and its rank there."""
    dtype = next(model.parameters()).dtype
    normed = model.ln_final(residual.to(dtype)).float() if is_norm(model.ln_final) else residual
    of_set = [normed[i] @ rows.T + bias for i, (rows, bias) in enumerate(reading)]
    return _over_mean(of_set, gold)


def _over_mean(
    logits: Sequence[Float[Tensor, "*depth answer"]], gold: Sequence[int]
) -> tuple[Float[Tensor, fact * depth], Int[Tensor, fact * depth]]:
    """Return the right answer's logit over the mean of its set's, and how many of the set are higher."""
    both = [(some[..., g], some) for some, g in zip(logits, gold, strict=True)]
    over = torch.stack([own - some.mean(-1) for own, some in both])
    return over, torch.stack([(some > own[..., None]).sum(-1) for own, some in both])
