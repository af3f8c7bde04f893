"""The pattern-only transplant: one model's values under another model's last attention row.

Attention patterns carry no answer: they say where to read, not what is written there. So if a model that
answers wrongly answers rightly once its last prompt token attends as another model's does, then the fact
was still stored in its own values. The placebo takes the row of *another* fact of the same relation and the
same token layout, which carries what any well-formed row would bring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from finetune.facts import InputError
from finetune.prompts import Prompt
from interp.attention import Hook, indices, last_row_patterns, pattern_hooks
from interp.decode import greedy
from interp.edits import require_edits
from interp.identity import fingerprint
from interp.results import Result
from interp.spans import PromptBatch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class LastRows(Result):
    """The last token's attention row of every fact, Float [fact, layer, head, pos], zero on padding."""

    values: Float[Tensor, "fact layer head pos"]

    def take(self, fact_ids: Sequence[str], width: int) -> Float[Tensor, "fact layer head pos"]:
        """Return the rows of some facts, cut or filled to ``width`` positions.

        Raises:
            InputError: a fact has no row.
        """
        place = {fact_id: i for i, fact_id in enumerate(self.fact_ids)}
        if missing_facts := [fact_id for fact_id in fact_ids if fact_id not in place]:
            raise InputError(
                f"fact {missing_facts[0]!r}: has no attention row here; record last_rows for it too"
            )
        rows = self.values[[place[fact_id] for fact_id in fact_ids]]
        missing = max(0, width - rows.shape[-1])
        return torch.nn.functional.pad(rows, (0, missing))[..., :width]


def last_rows(model: TransformerBridge, batch: PromptBatch, *, batch_tokens: int = 8192) -> LastRows:
    """Record the last token's attention row of every fact under this model."""
    width = batch.input_ids.shape[1]
    values = torch.zeros(len(batch), model.cfg.n_layers, model.cfg.n_heads, width)
    for index, chunk in batch.chunks(batch_tokens):
        rows = last_row_patterns(model, chunk)
        values[index, ..., : rows.shape[-1]] = rows
    return LastRows(values=values, fact_ids=batch.fact_ids, model=fingerprint(model))


def pattern_transplant(
    model: TransformerBridge,
    batch: PromptBatch,
    rows: Float[Tensor, "fact layer head pos"],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_new_tokens: int,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    batch_tokens: int = 8192,
) -> list[str]:
    """Answer greedily with the last prompt token attending by ``rows`` in the chosen layers and heads.

    Only that one row is replaced; the answer's own tokens attend as the model likes.

    Raises:
        InputError: a layer or head that the model has not, or rows that are not of these prompts' layouts.
        InterventionError: the model ignores edits of its attention.
    """
    require_edits(model)
    _require_rows(model, batch, rows)
    said = [""] * len(batch)
    for index, chunk in batch.chunks(batch_tokens):
        hooks = transplant_hooks(model, chunk, rows[index], layers=layers, heads=heads)
        answers = greedy(model, chunk, tokenizer, max_new_tokens=max_new_tokens, hooks=hooks)
        for i, answer in zip(index.tolist(), answers, strict=True):
            said[i] = answer
    return said


def transplant_hooks(
    model: TransformerBridge,
    batch: PromptBatch,
    rows: Float[Tensor, "fact layer head pos"],
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> list[Hook]:
    """Return hooks that overwrite each prompt's last attention row, however long the sequence has grown."""
    chosen = torch.tensor(indices("heads", heads, model.cfg.n_heads))
    fact, last = torch.arange(len(batch))[:, None], batch.last[:, None]

    def edit(layer: int) -> Callable[[Tensor, object], Tensor]:
        def overwrite(pattern: Float[Tensor, "fact head query key"], hook: object) -> Tensor:
            width = min(pattern.shape[-1], rows.shape[-1])
            row = torch.zeros(len(batch), len(chosen), pattern.shape[-1], dtype=pattern.dtype)
            row[..., :width] = rows[:, layer, chosen, :width]
            edited = pattern.clone()
            edited[fact, chosen[None], last] = row.to(pattern.device)
            return edited

        return overwrite

    wanted = indices("layers", layers, model.cfg.n_layers)
    return [(name, edit(layer)) for layer, name in pattern_hooks(model) if layer in wanted]


def _require_rows(
    model: TransformerBridge, batch: PromptBatch, rows: Float[Tensor, "fact layer head pos"]
) -> None:
    shape = (len(batch), model.cfg.n_layers, model.cfg.n_heads)
    if rows.shape[:3] != shape:
        raise InputError(
            f"attention rows of shape {tuple(rows.shape[:3])} for {shape} facts, layers and heads; "
            "take() the rows of these facts, from a model of this shape"
        )
    behind = torch.arange(rows.shape[-1])[None] > batch.last[:, None]
    beyond = (rows.amax((1, 2)).to(behind.device) * behind).any(-1)
    if beyond.any():
        fact_id = batch.fact_ids[int(beyond.nonzero()[0])]
        raise InputError(
            f"fact {fact_id!r}: the attention row given is of a longer prompt; use one of the same layout"
        )


def wrong_subject(batch: PromptBatch, pool: PromptBatch, *, seed: int = 0) -> tuple[list[int], list[str]]:
    """Draw, for each fact, another one of the same relation and token layout but another subject.

    Returns:
        The rows of ``batch`` that have such a partner, and the partners' fact ids.
    """
    rng = np.random.default_rng([seed, 4])
    layouts: dict[tuple[object, ...], list[int]] = {}
    for i in range(len(pool)):
        layouts.setdefault(_layout(pool, i), []).append(i)
    kept, partners = [], []
    for row, prompt in enumerate(batch.prompts):
        candidates = [
            i for i in layouts.get(_layout(batch, row), []) if _subject(pool.prompts[i]) != _subject(prompt)
        ]
        if candidates:
            kept.append(row)
            partners.append(pool.prompts[candidates[int(rng.integers(len(candidates)))]].fact_id)
    return kept, partners


def _layout(batch: PromptBatch, row: int) -> tuple[object, ...]:
    length = int(batch.last[row]) + 1
    return (batch.prompts[row].relation, length, tuple(batch.subject_mask[row, :length].tolist()))


def _subject(prompt: Prompt) -> str:
    return prompt.text[slice(*prompt.subject)]
