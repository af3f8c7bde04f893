"""Prefill: running prompts once, and resuming them from any layer and position as often as needed.

1. One forward pass over prompt and answer keeps every layer's keys and values, the residual stream entering
   every layer, and the clean logits.
2. A resumed row starts at one of its own positions: what stands before is read from the kept keys and
   values, shifted so that they end where the row begins. So a row's tokens lie next to each other as in the
   plain pass, whatever the lengths in the batch, and sliding windows and relative positions stay right.
3. It starts at one layer: the blocks below are replaced, for that pass, by what they had put out.
4. The unembedding reads only the positions whose logits are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import DynamicCache

from finetune.evaluation.batching import pad_rows
from interp.measures.attention import Hook, read_at
from interp.measures.context import require_room
from interp.measures.spans import PromptBatch
from interp.patching.resumed_rows import ResumedRows, shared_cache

KEPT = 2**27  # numbers that a prefill may keep of its prompts: 512 MiB in float32
Tails = tuple[Int[Tensor, "row tail"], Int[Tensor, " row"]]


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """What one forward pass over prompts with their answers, but for the last token, left behind.

    ``keys`` and ``values`` are per layer [fact, key-value head, pos, d_head], ``residuals`` [fact, pos,
    d_model] entering each layer; ``logits`` are at the last prompt token and those answer tokens.
    ``outputs`` is how many values each block returns (0: a bare tensor).
    """

    batch: PromptBatch
    tails: Tails
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    residuals: tuple[Tensor, ...]
    outputs: tuple[int, ...]
    logits: Float[Tensor, "fact scored vocab"]


def pad_tails(tokens: Sequence[Sequence[int]]) -> Tails:
    """Right-pad the token ids that stand behind prompts; return them with their lengths."""
    ids, mask = pad_rows(tokens, 0)
    return ids, mask.sum(1)


def prefill(model: TransformerBridge, batch: PromptBatch, answers: Sequence[Sequence[int]]) -> Prefill:
    """Run prompts with their answers once and keep what a resumed pass needs.

    An answer's last token is not run: nothing that is scored comes behind it.
    """
    tails = pad_tails([answer[:-1] for answer in answers])
    ids, mask = sequences(batch, tails)
    require_room(model, batch, tails[1])
    cache: Any = DynamicCache()  # without a config, so that every layer keeps all positions
    layers = range(model.cfg.n_layers)
    residuals: dict[int, Tensor] = {}
    outputs: dict[int, int] = {}

    def keep(layer: int) -> Hook:
        def hook(residual: Tensor, hook: object) -> None:
            residuals[layer] = residual

        return f"blocks.{layer}.hook_in", hook

    def count(layer: int) -> Callable[[Any, Any, Any], None]:
        def hook(module: object, arguments: object, output: object) -> None:
            outputs[layer] = len(output) if isinstance(output, tuple) else 0

        return hook

    scored = batch.last[:, None] + torch.arange(tails[0].shape[1] + 1)[None]
    handles = [block.register_forward_hook(count(i)) for i, block in enumerate(model.blocks)]
    try:
        logits = _run(model, ids, mask, [*map(keep, layers), read_at(scored, ids.shape[1])], cache)
    finally:
        for handle in handles:
            handle.remove()
    return Prefill(
        batch=batch,
        tails=tails,
        keys=tuple(layer.keys for layer in cache.layers),
        values=tuple(layer.values for layer in cache.layers),
        residuals=tuple(residuals[i] for i in layers),
        outputs=tuple(outputs[i] for i in layers),
        logits=logits.float(),
    )


def kept_tokens(model: TransformerBridge) -> int:
    """Return of how many tokens the keys, values and residual stream of every layer may be kept at once."""
    cfg = model.cfg
    groups = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
    return max(1, KEPT // (cfg.n_layers * (cfg.d_model + 2 * groups * cfg.d_head)))


def view(kept: Prefill, fact: Int[Tensor, " row"], start: Int[Tensor, " row"], tails: Tails) -> ResumedRows:
    """Lay out rows that resume facts at their own positions.

    Args:
        kept: the prompts' prefill.
        fact: the fact of each row.
        start: the position that each row resumes at.
        tails: each row's tokens behind its prompt.
    """
    behind = kept.batch.last[fact] + 1 + tails[1] - start
    return ResumedRows(fact=fact, start=start, prefix=int(start.max()), length=int(behind.max()))


def resume(
    model: TransformerBridge,
    kept: Prefill,
    rows: ResumedRows,
    layer: int,
    tails: Tails,
    hooks: Sequence[Hook],
) -> Float[Tensor, "row scored vocab"]:
    """Run rows again from a position and a layer on, under hooks, and return the logits of their tails.

    Above layer 0 the tails must be those of the prefill. Logits are at the last prompt token and at every
    token of the tail; those behind a row's end mean nothing.

    Args:
        model: the hooked model.
        kept: the prompts' prefill.
        rows: where they resume.
        layer: the layer that they resume at.
        tails: each row's tokens behind its prompt; above layer 0 those of the prefill.
        hooks: interventions.
    """
    ids, mask = sequences(kept.batch[rows.fact], tails)
    position = rows.start[:, None] + torch.arange(rows.length)[None]
    inside = position < ids.shape[1]
    position = position.clamp_max(ids.shape[1] - 1)
    visible = torch.cat([rows.key_positions[:, : rows.prefix] >= 0, mask.gather(1, position) * inside > 0], 1)
    first = (kept.batch.last[rows.fact] - rows.start)[:, None]
    reader = read_at(first + torch.arange(tails[0].shape[1] + 1)[None], rows.length)
    cache = shared_cache(kept.keys, kept.values, rows) if rows.prefix else None
    with _skip_blocks(model, kept, rows.fact, position, layer):
        return _run(model, ids.gather(1, position), visible.long(), [*hooks, reader], cache).float()


def sequences(batch: PromptBatch, tails: Tails) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Write tails behind their prompts; return ids and attention mask."""
    (more, lengths), room = tails, tails[0].shape[1]
    ids = torch.nn.functional.pad(batch.input_ids, (0, room))
    position = batch.last[:, None] + 1 + torch.arange(room)[None]
    ids = ids.scatter(1, position, more)
    return ids, (torch.arange(ids.shape[1])[None] <= (batch.last + lengths)[:, None]).long()


def _run(
    model: TransformerBridge, ids: Tensor, mask: Tensor, hooks: Sequence[Hook], cache: Any
) -> Float[Tensor, "row scored vocab"]:
    device = next(model.parameters()).device
    options = {"use_cache": False} if cache is None else {"past_key_values": cache}
    with torch.inference_mode():
        return model.run_with_hooks(
            ids.to(device), attention_mask=mask.to(device), fwd_hooks=list(hooks), **options
        )


@contextmanager
def _skip_blocks(
    model: TransformerBridge, kept: Prefill, fact: Tensor, position: Tensor, layer: int
) -> Iterator[None]:
    """Replace the blocks below a layer by what the prefill had entering it."""

    def forward(below: int, hidden: Tensor, *arguments: Any, **options: Any) -> Any:
        if below == layer - 1:
            entering = kept.residuals[layer]
            place = fact[:, None], position.clamp_max(entering.shape[1] - 1)
            hidden = entering[place[0].to(hidden.device), place[1].to(hidden.device)]
        count = kept.outputs[below]
        return (hidden, *[None] * (count - 1)) if count else hidden

    blocks = [model.blocks[i] for i in range(layer)]
    # A bridge hands attributes on to the module that it wraps; the instance's own dict is not handed on.
    for below, block in enumerate(blocks):
        block.__dict__["forward"] = partial(forward, below)
    try:
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)
