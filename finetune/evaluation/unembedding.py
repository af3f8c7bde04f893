"""Logits at chosen positions only: the unembedding reads no others, and reads contiguous rows.

Logits of every token are most of what a forward pass over a large vocabulary holds, and where the head is in
bfloat16 on a CPU a non-contiguous slice of the residual stream (what an integer ``logits_to_keep`` makes) has
PyTorch copy the head's weights once per row: 5.7 GiB for 100 rows of a 49k vocabulary. So positions are
gathered in front of the head, which every causal language model of transformers calls as a module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from finetune.evaluation.batching import IGNORED

PACKED_FROM = 2**24  # logits of a batch, from which only scored positions are unembedded in training

Residual = Float[Tensor, "row pos d_model"]


def logits_at(
    model: PreTrainedModel,
    ids: Int[Tensor, "row pos"],
    mask: Int[Tensor, "row pos"],
    position: Int[Tensor, "row read"],
    **options: Any,
) -> Float[Tensor, "row read vocab"]:
    """Run a model and return the logits at some positions of each row, on the model's device.

    Args:
        model: the plain model.
        ids: token ids.
        mask: 1 at tokens, 0 at padding.
        position: the positions to read in each row.
        options: further arguments of the forward pass.
    """
    with unembedded_at(model, position) as used:
        device = next(model.parameters()).device
        logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), **options).logits
    # A model that multiplies with its head's weights elsewhere has logits of all positions.
    return logits if used else _gathered(logits, position)


@contextmanager
def unembedded_at(model: PreTrainedModel, position: Int[Tensor, "row read"]) -> Iterator[list[bool]]:
    """Let a model's head see only some positions of each row; the list is filled once it does."""
    used: list[bool] = []

    def gather(residual: Residual) -> Residual:
        used.append(True)
        return _gathered(residual, position)

    with _before_head(model, gather):
        yield used


@contextmanager
def contiguous_head(model: PreTrainedModel) -> Iterator[None]:
    """Let a model's head see contiguous rows, whatever slice ``generate`` cuts out for it."""
    with _before_head(model, Tensor.contiguous):
        yield


@contextmanager
def packed_loss(model: Any) -> Iterator[None]:
    """Unembed, in a training's forward passes, only the positions that predict a scored token.

    1. The positions whose next token is scored are packed to the left of each row, one more behind them.
    2. The labels are packed behind them by one, so that the model's own shifted loss pairs each with its
       token: the loss is the same mean over the same tokens.

    Batches of small vocabularies, whose logits are fewer than ``PACKED_FROM``, are left as they are.
    """
    waiting: list[Tensor] = []

    def pack(module: Any, arguments: Any, given: dict[str, Any]) -> Any:
        labels = given.get("labels")
        if labels is None or not is_packed(labels.numel() * vocabulary(model)):
            return None
        position, packed = pack_labels(labels)
        waiting.append(position)
        return arguments, {**given, "labels": packed}

    handle = model.register_forward_pre_hook(pack, with_kwargs=True)
    try:
        with _before_head(
            model, lambda residual: _gathered(residual, waiting.pop()) if waiting else residual
        ):
            yield
    finally:
        handle.remove()


def is_packed(logits: int) -> bool:
    """Tell whether a training's batch of so many logits unembeds only what it scores."""
    return logits >= PACKED_FROM


def pack_labels(labels: Int[Tensor, "row pos"]) -> tuple[Int[Tensor, "row kept"], Int[Tensor, "row kept"]]:
    """Return the positions that predict a scored token, one more behind them, and their labels."""
    scored = labels[:, 1:] != IGNORED
    width = int(scored.sum(1).max()) + 1
    place = torch.arange(labels.shape[1], device=labels.device)
    order = torch.where(scored, place[:-1], labels.shape[1]).sort(dim=1).values[:, : width - 1]
    inside = order < labels.shape[1]
    position = torch.nn.functional.pad(torch.where(inside, order, 0), (0, 1))
    following = labels.gather(1, (position[:, :-1] + 1).clamp_max(labels.shape[1] - 1))
    packed = torch.nn.functional.pad(torch.where(inside, following, IGNORED), (1, 0), value=IGNORED)
    return position, packed


@contextmanager
def _before_head(model: Any, change: Callable[[Residual], Residual]) -> Iterator[None]:
    """Change what enters a model's output embeddings, where it has such a module."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda module, given: (change(given[0]), *given[1:]))
    try:
        yield
    finally:
        handle.remove()


def _gathered(values: Tensor, position: Int[Tensor, "row read"]) -> Tensor:
    row = torch.arange(len(position), device=values.device)[:, None]
    return values[row, position.to(values.device)]


def vocabulary(model: Any) -> int:
    """Return how many logits a position has."""
    return int(model.config.get_text_config().vocab_size)
