"""The LoRA switch: one copy of the weights for a base and its LoRA, whose updates are turned on and off.

PEFT loads and checks an adapter; then its updates are taken out as factors, the bridge is booted on the plain
base, and each adapted linear layer is replaced by one that adds ``scaling * up @ down`` while the switch is
on. So

- the base's weights are never changed: switched off, the base is the base to the bit, in any precision;
- the forward pass adds the update to the activations (in float32), which needs no second weight matrix;
- ``weight`` is the merged matrix, made when asked for (in float32, then cast): ``W_Q`` to ``W_O`` are right.

Merging and unmerging in place would be as small, but leaves rounding behind: 3e-7 in float32, 1e-2 nats in
bfloat16. Bridges split fused projections (GPT-2, GPT-NeoX, Phi-3, Falcon, Bloom) into layers of their own;
the update's rows are split in the same way, by asking the bridge's own split where each row goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int
from peft import PeftModel
from peft.tuners.lora.layer import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from torch.nn.functional import linear
from transformer_lens.model_bridge import TransformerBridge
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """An update of a weight: ``scaling * up @ down``, added to a matrix of shape [d_out, d_in]."""

    down: Float[Tensor, "rank d_in"]
    up: Float[Tensor, "d_out rank"]
    scaling: float

    def rows(self, index: Int[Tensor, " row"]) -> LowRank:
        """Keep some output rows."""
        return LowRank(down=self.down, up=self.up[index.to(self.up.device)], scaling=self.scaling)

    def matrix(self) -> Float[Tensor, "d_out d_in"]:
        """Return the update as one matrix."""
        return self.scaling * einsum(self.up, self.down, "d_out rank, rank d_in -> d_out d_in")

    def added(
        self, plain: Float[Tensor, "... d_out"], x: Float[Tensor, "... d_in"]
    ) -> Float[Tensor, "... d_out"]:
        """Add the update of activations to a layer's own output, in the factors' precision at least."""
        precision = torch.promote_types(plain.dtype, self.down.dtype)
        low = linear(x.to(self.down.dtype), self.down).to(precision).flatten(0, -2)
        # One fused step: a sum, a product and a cast of their own take longer than the update itself.
        up = self.up.T.to(precision)
        whole = torch.addmm(plain.to(precision).flatten(0, -2), low, up, alpha=self.scaling)
        return whole.view(plain.shape).to(plain.dtype)


@dataclass
class LoraSwitch:
    """Whether the updates count: one for all layers of a model."""

    on: bool = False


class _Adapted(nn.Module):
    """A linear layer that adds an update while its switch is on."""

    plain: Any
    down: Tensor
    up: Tensor

    def __init__(self, plain: nn.Module, update: LowRank, switch: LoraSwitch) -> None:
        nn.Module.__init__(self)
        self.plain, self.switch = plain, switch
        device = self.plain.weight.device
        self.register_buffer("down", update.down.to(device), persistent=False)
        self.register_buffer("up", update.up.to(device), persistent=False)
        self.scaling = update.scaling

    @property
    def update(self) -> LowRank:
        return LowRank(down=self.down, up=self.up, scaling=self.scaling)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The layer's weight in its own layout: merged while the switch is on."""
        own = self.plain.weight
        if not self.switch.on:
            return own
        matrix = self.update.matrix()
        return (own.float() + (matrix.T if isinstance(self, Conv1D) else matrix)).to(own.dtype)

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        return self.plain.bias

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("plain"), name)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        plain = self.plain(x)
        return self.update.added(plain, x) if self.switch.on else plain


# TransformerLens tells a weight's layout by its layer's class, so an adapted layer keeps its kind.
class AdaptedLinear(_Adapted, nn.Linear):  # type: ignore[misc, override]
    """An ``nn.Linear`` with a switchable update."""


class AdaptedConv1D(_Adapted, Conv1D):  # type: ignore[misc]
    """GPT-2's ``Conv1D``, whose weight is stored [in, out], with a switchable update."""


def adapt_layer(plain: nn.Module, update: LowRank, switch: LoraSwitch) -> _Adapted:
    """Wrap a linear layer."""
    return (AdaptedConv1D if isinstance(plain, Conv1D) else AdaptedLinear)(plain, update, switch)


def low_rank_updates(model: PeftModel) -> dict[str, LowRank] | None:
    """Take an adapter's updates by layer name; None if it does more than update linear layers.

    DoRA, trained biases, embeddings or whole modules, and methods other than LoRA need weights of their own.
    """

    updates: dict[str, LowRank] = {}
    name = model.active_adapter
    whole: Any = model.base_model.model
    for path, layer in whole.named_modules():
        if isinstance(layer, AuxiliaryTrainingWrapper):
            return None
        if not isinstance(layer, BaseTunerLayer):
            continue
        if type(layer) is not Linear or not isinstance(layer.get_base_layer(), nn.Linear | Conv1D):
            return None
        if layer.lora_variant or layer.lora_bias.get(name):
            return None
        down: Any = layer.lora_A[name]
        up: Any = layer.lora_B[name]
        updates[path] = LowRank(
            down=down.weight.detach(),
            up=up.weight.detach(),
            scaling=float(layer.scaling[name]),
        )
    return updates


def install(bridge: TransformerBridge, layers: Mapping[nn.Module, LowRank], switch: LoraSwitch) -> None:
    """Replace plain layers inside a booted bridge by adapted ones, the bridge's splits of them too."""
    splits = list(_splits(bridge, layers))
    replaced = {layer: adapt_layer(layer, update, switch) for layer, update in layers.items()}
    wrapped = set(replaced.values())
    for parent in {*bridge.modules(), *bridge.original_model.modules()} - wrapped:
        for name, child in list(parent._modules.items()):
            if child in replaced:
                parent._modules[name] = replaced[child]
    for part, update in splits:
        part._modules["_original_component"] = adapt_layer(part.original_component, update, switch)


def _splits(bridge: TransformerBridge, layers: Mapping[nn.Module, LowRank]) -> Iterator[tuple[Any, LowRank]]:
    """Yield (the bridge's part of a fused layer, the rows of the layer's update that belong to it)."""
    for component in bridge.modules():
        for method, parts in (("split_qkv_matrix", "q k v"), ("split_gate_up_matrix", "gate in")):
            split, whole = component.__dict__.get(method), component._modules.get("_original_component")
            if split is None or whole is None:
                continue
            for fused in {module for module in whole.modules() if module in layers}:
                index = _rows(split, whole, fused)
                if index is None:  # not the fused layer, but another one below the same component
                    continue
                for part, rows in zip(parts.split(), index, strict=True):
                    yield component.get_submodule(part), layers[fused].rows(rows)


def _rows(
    split: Callable[[Any], tuple[nn.Module, ...]], whole: nn.Module, fused: Any
) -> list[Int[Tensor, " row"]] | None:
    """Ask a bridge's split where the rows of a fused weight go, by splitting their numbers.

    None if the split does not read this layer.
    """
    kept = fused.weight.data
    out_dim = 1 if isinstance(fused, Conv1D) else 0
    shape = [1, 1]
    shape[out_dim] = -1
    numbers = torch.arange(kept.shape[out_dim], dtype=torch.float32).view(shape)
    try:
        # Negative, so that weights which the split did not take from here cannot pass for numbers.
        fused.weight.data = (-1 - numbers).to(kept.device).expand(kept.shape)
        layers: Any = split(whole)
        parts = [layer.weight.detach()[:, 0].float() for layer in layers]
    finally:
        fused.weight.data = kept
    rows = [(-1 - part).round() for part in parts]
    if any(
        (-1 - part != number).any() or (number < 0).any() for part, number in zip(parts, rows, strict=True)
    ):
        return None
    return [number.long() for number in rows]
