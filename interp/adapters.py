"""Merging an adapter for a while: exact weights inside, the base's weights again outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from finetune.facts import InputError


class Merged:
    """An adapter that can be merged into its base's weights and taken out again.

    In float32, PEFT adds the update and subtracts it again; the base then returns to within rounding
    (about 3e-7 in the logits). In 16 bits that would lose the base's last bits, so each touched weight is
    kept on the CPU meanwhile, the sum is formed in float32 and rounded once, and the base returns exactly.

    Raises:
        InputError: the base is quantised, or a 16-bit base has an adapter other than plain LoRA.
    """

    def __init__(self, model: Any) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._model = model
        if getattr(model.base_model.model, "is_quantized", False):
            raise InputError(
                "an adapter cannot be merged into 4- or 8-bit weights without changing them; "
                "load the base in 16 or 32 bits"
            )
        self._layers: list[Any] = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
        self._exact = any(
            layer.get_base_layer().weight.dtype != torch.float32
            for layer in self._layers
            if _has_weight(layer)
        )
        if self._exact and not all(_plain_lora(layer) for layer in self._layers):
            raise InputError(
                "a 16-bit base with an adapter other than plain LoRA; load it with dtype=torch.float32"
            )
        # Unmerged and switched off: what is booted now is the base.
        model.base_model.disable_adapter_layers()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the model the fine-tuned one inside the block."""
        with self._sixteen_bits() if self._exact else self._thirty_two_bits():
            yield

    @contextmanager
    def _thirty_two_bits(self) -> Iterator[None]:
        self._model.base_model.enable_adapter_layers()
        self._model.merge_adapter()
        try:
            yield
        finally:
            self._model.unmerge_adapter()
            self._model.base_model.disable_adapter_layers()

    @contextmanager
    def _sixteen_bits(self) -> Iterator[None]:
        originals: list[Tensor] = []
        try:
            for layer in self._layers:
                weight = layer.get_base_layer().weight
                originals.append(weight.detach().to("cpu", copy=True))
                update = sum(layer.get_delta_weight(name).float() for name in layer.active_adapters)
                weight.data.copy_(weight.detach().float() + update)
            yield
        finally:
            for layer, original in zip(self._layers, originals, strict=False):
                layer.get_base_layer().weight.data.copy_(original)


def _has_weight(layer: Any) -> bool:
    return hasattr(layer.get_base_layer(), "weight")


def _plain_lora(layer: Any) -> bool:
    from peft.tuners.lora import Linear

    return isinstance(layer, Linear) and not any(getattr(layer, "use_dora", {}).values())
