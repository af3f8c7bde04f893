"""Adapters with resized embeddings: the base is resized as training did, if the adapter brings all rows.

Training that adds tokens (ChatML) resizes the base's embeddings. PEFT then saves them whole, with
``modules_to_save`` or ``save_embedding_layers``. A new row that no file brings would be random: such an
adapter is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from finetune.common.errors import InputError

# Where PEFT keeps a whole matrix, below the module's name: as it is, below an update, below trainable tokens.
WHOLE = (
    "weight",
    "base_layer.weight",
    "original_module.weight",
    "modules_to_save.weight",
    "token_adapter.base_layer.weight",
)


@dataclass(frozen=True, kw_only=True)
class VocabularyResize:
    """How many tokens a base had embeddings for, and has now."""

    before: int
    after: int


def resize_embeddings(
    model: PreTrainedModel, tensors: Mapping[str, Tensor], tail: Callable[[str], str]
) -> VocabularyResize | None:
    """Give a base as many embeddings as an adapter brings; None if it has as many already.

    New rows are NaN until they are loaded. ``tail`` takes a tensor's name to the one in the base.
    """
    places = {f"{path}.{end}" for path in embedding_paths(model) for end in WHOLE}
    sizes = {tensor.shape[0] for name, tensor in tensors.items() if tail(name) in places and tensor.ndim == 2}
    before = int(_ends(model)[0].weight.shape[0])
    if len(sizes) != 1 or sizes == {before}:
        return None
    after = sizes.pop()
    # The rows of the mean that would be made for the new tokens are replaced or refused.
    model.resize_token_embeddings(after, mean_resizing=False)
    for layer in _ends(model):
        for parameter in layer.parameters():
            parameter.data[before:] = float("nan")
    return VocabularyResize(before=before, after=after)


def embedding_paths(model: Any) -> list[str]:
    """Name the layers that go in and out of the vocabulary."""
    ends = {id(layer) for layer in _ends(model)}
    return [name for name, layer in model.named_modules() if id(layer) in ends]


def require_embeddings(model: Any, resized: VocabularyResize, source: str | Path, base: str) -> None:
    """Refuse an adapter that brings only some of the new rows.

    Args:
        model: the base below the adapter.
        resized: how it was resized.
        source: what names the adapter in an error.
        base: what names the base.

    Raises:
        InputError: some embeddings would be random.
    """
    for layer in _ends(model):
        weights = [layer.weight, getattr(layer, "bias", None)]
        if any(weight is not None and not bool(weight.isfinite().all()) for weight in weights):
            raise InputError(
                f"{source}: was trained with {resized.after} tokens, another vocabulary than {base}'s "
                f"{resized.before}, and brings only some of the new embeddings; save the adapter again with "
                "save_embedding_layers=True, or resize and save its own base"
            )


def _ends(model: Any) -> list[Any]:
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    return [layer for layer in ends if layer is not None]
