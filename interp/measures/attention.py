"""Subject attention: how much of the last prompt token's attention goes to the subject, by layer and head.

1. ``raw[f, l, h] = sum over the subject's tokens s of pattern[f, l, h, last, s]``.
2. A prompt's first token draws most attention whatever it is (Xiao et al. 2024, "attention sinks"), BOS or
   not, and so do its repeats directly behind it and special tokens. The mass leaves sinks out and
   renormalises: ``raw / (1 - sinks)``.
3. Of a prompt that begins with its subject nothing can be said, for its attention is a sink's: it is NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.exceptions import StopAtLayerException

from finetune.common.errors import InputError
from finetune.common.progress import progress_bar
from finetune.evaluation.batching import rows_within
from interp.measures.context import require_room
from interp.measures.result import Result, long_frame
from interp.measures.spans import PromptBatch
from interp.models.identity import model_fingerprint

Row = Float[Tensor, "fact layer head pos"]
BLOCKS = ("subject", "relation", "bos", "rest")
Hook = tuple[str | Callable[..., Any], Callable[..., Any]]


@dataclass(frozen=True, kw_only=True)
class AttentionMass(Result):
    """Attention of the last prompt token, by where it goes: every tensor is [fact, layer, head].

    ``values`` is the mass on the subject with sinks left out and the rest renormalised, ``raw`` the same with
    them in. With ``raw``, the masses on ``bos`` (all sinks), on ``relation`` (the prompt's other words) and
    on ``rest`` (the last token itself) add up to one, less what a sink in the softmax takes. ``rank`` counts
    the words, sinks aside, that draw more attention than the subject's most attended word. A fact whose
    prompt begins with its subject is NaN (rank -1) and named in ``sunk``.
    """

    values: Float[Tensor, "fact layer head"]
    raw: Float[Tensor, "fact layer head"]
    rank: Int[Tensor, "fact layer head"]
    bos: Float[Tensor, "fact layer head"]
    relation: Float[Tensor, "fact layer head"]
    rest: Float[Tensor, "fact layer head"]
    sunk: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per fact, layer and head."""
        _, layers, heads = self.values.shape
        columns = {n: getattr(self, n) for n in ("raw", "rank", "bos", "relation", "rest")}
        return long_frame(
            {"fact_id": self.fact_ids, "layer": range(layers), "head": range(heads)},
            {"subject": self.values, **columns},
        )


class MassTable:
    """Fills an attention mass chunk by chunk, from rows that a pass made for this or for something else."""

    def __init__(self, model: TransformerBridge, batch: PromptBatch) -> None:
        shape = (len(batch), model.cfg.n_layers, model.cfg.n_heads)
        self.batch, self.model = batch, model_fingerprint(model)
        self.mass = {block: torch.zeros(shape) for block in BLOCKS}
        self.rank = torch.zeros(shape, dtype=torch.long)

    def add(self, index: Int[Tensor, " row"], chunk: PromptBatch, rows: Row) -> None:
        """Take in the attention rows of a chunk's last tokens; ``index`` are its rows of the batch."""
        for block, mask in blocks(chunk).items():
            self.mass[block][index] = row_mass(rows, mask)
        self.rank[index] = subject_rank(rows, chunk)

    def result(self) -> AttentionMass:
        """Renormalise without sinks, and set aside prompts that begin with their subject."""
        raw, bos, sunk = self.mass["subject"].clone(), self.mass["bos"], self.batch.sunk
        # Not 1 - bos, in which the little that sinks leave is lost to rounding, and in bfloat16 all of it.
        free = raw + self.mass["relation"] + self.mass["rest"]
        raw[sunk] = torch.nan
        return AttentionMass(
            # Where all attention is on sinks there is nothing to renormalise, and the subject's share is 0.
            values=torch.where(free > 0, raw / free.clamp_min(1e-30), 0 * raw).clamp(0, 1),
            raw=raw,
            rank=self.rank.masked_fill(sunk[:, None, None], -1),
            bos=bos,
            relation=self.mass["relation"],
            rest=self.mass["rest"],
            sunk=tuple(i for i, first in zip(self.batch.fact_ids, sunk.tolist(), strict=True) if first),
            fact_ids=self.batch.fact_ids,
            model=self.model,
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
    table = MassTable(model, batch)
    for index, chunk in chunk_batch(batch, batch_tokens, progress):
        table.add(index, chunk, last_row_patterns(model, chunk))
    return table.result()


def chunk_batch(
    batch: PromptBatch, batch_tokens: int, progress: str | None = None, *, rows: int | None = None
) -> Iterator[tuple[Int[Tensor, " row"], PromptBatch]]:
    """Yield a batch's chunks with their rows.

    Args:
        batch: the encoded prompts.
        batch_tokens: bound on the tokens of a chunk.
        progress: names the work beside a progress bar; without it there is none.
        rows: bound on a chunk's prompts where their logits are read (:func:`logit_rows`).
    """
    done = 0
    with progress_bar(progress, total=len(batch)) if progress else nullcontext(lambda done: None) as advance:
        for index, chunk in batch.chunks(batch_tokens, rows):
            yield index, chunk
            done += len(index)
            advance(done)


def logit_rows(model: TransformerBridge, positions: int = 1) -> int:
    """Return how many prompts' logits, read at so many positions each, one pass may hold."""
    return rows_within(model.cfg.d_vocab, positions)


def blocks(batch: PromptBatch) -> dict[str, Bool[Tensor, "fact pos"]]:
    """Mark the tokens of each of ``BLOCKS``; they are disjoint and cover the prompt.

    ``bos`` are the sinks, the first token among them even where it is the subject's or another word.
    """
    sinks = batch.sink_mask
    masks = (batch.subject_mask, batch.relation_mask, sinks, batch.last_mask & ~batch.subject_mask)
    return {name: mask if mask is sinks else mask & ~sinks for name, mask in zip(BLOCKS, masks, strict=True)}


def indices(name: str, chosen: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Return which of ``count`` layers or heads are meant: the chosen ones, each once, or all.

    Raises:
        InputError: none, one that is no whole number, or one that the model has not.
    """
    given = tuple(range(count)) if chosen is None else chosen
    try:
        wanted = tuple(dict.fromkeys(operator.index(-1 if isinstance(i, bool) else i) for i in given))
    except TypeError:
        raise InputError(f"{name} = {chosen!r}: give a list of whole numbers") from None
    if not wanted or not all(0 <= i < count for i in wanted):
        raise InputError(f"{name} = {list(wanted)}: choose from 0 to {count - 1}")
    return wanted


def row_mass(rows: Row, mask: Bool[Tensor, "fact pos"]) -> Float[Tensor, "fact layer head"]:
    """Sum attention rows over marked positions."""
    return einsum(rows, mask.to(rows.dtype), "fact layer head pos, fact pos -> fact layer head")


def subject_rank(rows: Row, batch: PromptBatch) -> Int[Tensor, "fact layer head"]:
    """Count the words, sinks aside, that draw more attention than the subject's most attended word."""
    places = torch.arange(int(batch.word.max()) + 1)
    member = (batch.word[..., None] == places) & ~batch.sink_mask[..., None]
    words = einsum(rows, member.to(rows.dtype), "fact layer head pos, fact pos word -> fact layer head word")
    subject = (member & batch.subject_mask[..., None]).any(1)[:, None, None]
    most = words.masked_fill(~subject, -1).amax(-1, keepdim=True)
    return ((words > most) & ~subject).sum(-1)


def without_sinks(rows: Row, batch: PromptBatch) -> Row:
    """Leave attention sinks out of rows and renormalise; where all attention is on sinks a row is 0."""
    free = rows.masked_fill(batch.sink_mask[:, None, None, :].to(rows.device), 0.0)
    return free / free.sum(-1, keepdim=True).clamp_min(torch.finfo(free.dtype).tiny)


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
    reader = read_at(batch.last[:, None], batch.input_ids.shape[1])
    return run_hooked(model, batch, [*hooks, reader])[:, 0].float()


def read_at(position: Int[Tensor, "row scored"], length: int) -> Hook:
    """Return a hook that hands only some positions to the unembedding."""

    def take(residual: Float[Tensor, "row pos d_model"], hook: object) -> Tensor:
        row = torch.arange(len(position), device=residual.device)[:, None]
        return residual[row, position.clamp_max(length - 1).to(residual.device)]

    return "unembed.hook_in", take


def run_hooked(model: TransformerBridge, batch: PromptBatch, hooks: Sequence[Hook]) -> Tensor:
    """Run prompts with hooks and return what comes out: all logits, or where a hook stopped the pass."""
    require_room(model, batch)
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
