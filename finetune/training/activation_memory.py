"""The memory that activations take in training, counted on the meta device, where tensors have no contents.

1. A forward pass runs over one micro-batch with one layer and with two; what autograd saves is added up, each
   tensor once and parameters left out. The difference is what a layer keeps, the rest is kept once.
2. With gradient checkpointing each layer keeps its input, and one layer at a time all of the above.
3. Logits: their gradients, in float32 and in the precision they were computed in, live beside all of that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from peft import get_peft_model
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, PreTrainedConfig

from finetune.checkpoints.weight_keys import default_attention, model_class
from finetune.evaluation.unembedding import is_packed, unembedded_at
from finetune.training.config import TuneConfig
from finetune.training.lora import lora_config


def model_without_contents(config: PreTrainedConfig, tune: TuneConfig, *, layers: int | None = None) -> Any:
    """Build the model, with its adapter, without contents; ``layers`` takes the place of its own number."""

    if layers is not None:
        config = copy.deepcopy(config)
        config.get_text_config().num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    with torch.device("meta"):
        dtype = torch.bfloat16 if tune.dtype == "bfloat16" and tune.method == "lora" else torch.float32
        attention = default_attention(model_class(config)[0])
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention, trust_remote_code=False
        )
        if tune.method == "lora":
            model = get_peft_model(model, lora_config(model, tune))
    return model


def activation_memory(
    config: PreTrainedConfig, tune: TuneConfig, *, micro: int, length: int, read: int
) -> int:
    """Return the bytes that one piece of ``micro`` rows of ``length`` tokens keeps for its backward pass.

    Args:
        config: the base's configuration.
        tune: how it is fine-tuned.
        micro: rows that are computed at once.
        length: their tokens.
        read: those of a row whose logits are needed; a small vocabulary has all of them.
    """
    text = config.get_text_config()
    read = read if is_packed(micro * length * text.vocab_size) else length
    one, two = (
        _saved_for_backward(
            model_without_contents(config, tune, layers=n), tune, micro=micro, length=length, read=read
        )
        for n in (1, 2)
    )
    layer = two - one
    once, layers = max(one - layer, 0), text.num_hidden_layers
    width = 2 if tune.dtype == "bfloat16" else 4
    kept = layers * layer
    if tune.gradient_checkpointing:
        kept = layers * micro * length * text.hidden_size * width + layer
    return once + kept + micro * read * text.vocab_size * (4 + width)


def _saved_for_backward(model: Any, tune: TuneConfig, *, micro: int, length: int, read: int) -> int:
    """Add up what autograd saves in one forward pass, in bytes."""
    own = {id(p) for p in model.parameters()} | {id(b) for b in model.buffers()}
    seen: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        whole = tensor if tensor._base is None else tensor._base
        if id(whole) not in own:
            seen[id(whole)] = whole  # held, so that no other tensor takes its identity
        return tensor

    unpack: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor  # noqa: E731
    ids = torch.zeros((micro, length), dtype=torch.long, device="meta")
    # A ready mask, for making one looks at its values, which there are none.
    mask = torch.ones((micro, 1, length, length), dtype=torch.bool, device="meta")
    precision = _autocast() if tune.dtype == "bfloat16" else nullcontext()
    reading = unembedded_at(model, ids[:, :read])  # any positions, for there are no values
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack), precision, reading:
        model.train()(input_ids=ids, attention_mask=mask, labels=ids[:, :read], use_cache=False)
    return sum(tensor.numel() * tensor.element_size() for tensor in seen.values())


def _autocast() -> Any:
    """Do to products on the meta device what bf16 autocast, which knows no such device, does to them."""

    products = {functional.linear, torch.addmm, torch.matmul, functional.scaled_dot_product_attention}

    def narrow(value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(torch.bfloat16) if floating else value

    class Autocast(TorchFunctionMode):
        """Cast what goes into a product."""

        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            kwargs = kwargs or {}
            if func in products:
                args = tuple(narrow(a) for a in args)
                kwargs = {name: narrow(value) for name, value in kwargs.items()}
            return func(*args, **kwargs)

    return Autocast()
