"""A model's context: prompts that it cannot read are refused before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from jaxtyping import Int
from torch import Tensor

from finetune.data.prompts import prompt_names
from finetune.evaluation.batching import require_context
from interp.measures.spans import PromptBatch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel


def require_room(
    model: TransformerBridge, batch: PromptBatch, more: Int[Tensor, " fact"] | int = 0
) -> int | None:
    """Refuse prompts that with ``more`` tokens behind them do not fit; return the model's limit, if any.

    Raises:
        InputError: names the longest prompt.
    """
    lengths = batch.last + 1 + more
    longest = int(lengths.argmax())
    plain = cast("PreTrainedModel", model.original_model)
    if not hasattr(plain, "config"):  # TransformerLens' own architecture
        return None
    return require_context(plain, [int(lengths[longest])], prompt_names([batch.prompts[longest]]))
