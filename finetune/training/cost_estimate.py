"""What a training will take before it starts: memory and time, from the model's configuration alone.

Counted on the meta device, where tensors have shapes and no contents:

1. Parameters: the model is built, and for LoRA the adapter put on it; tied weights count once.
2. Activations: a forward pass over one micro-batch with one layer and with two; what autograd saves is added
   up, each tensor once and parameters left out. The difference is what a layer keeps, the rest is kept once.
   With gradient checkpointing each layer keeps its input, and one layer at a time all of the above.
3. Logits: their gradients, in float32 and in the precision they were computed in, live beside all of that.
4. FLOPs: per token 2 for every weight of a linear layer forward, 2 backward to the activations, 2 to weights
   that learn, 2 more where layers are computed again; and 4 x layers x width x length for attention's two
   products forward, 2 to 3 times that in all.

Weights that learn take 4 bytes, their gradients 4, AdamW's two moments 8. Not counted: fragmentation, the
libraries' workspaces (a fixed share of them is in ``RUNTIME``), and a base's loading.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from peft import get_peft_model
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from finetune.checkpoints.loading import Source, configuration_of
from finetune.checkpoints.weight_keys import attention_of
from finetune.common import distributed
from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation.unembedding import is_packed, unembedded_at
from finetune.training.config import TuneConfig
from finetune.training.lora import lora_config
from finetune.training.machine import GIB, Machine, duration, size, this_machine

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

RUNTIME = {"cpu": int(0.5 * GIB), "cuda": 1 * GIB}  # libraries, kernels and a context, before any tensor
LONG = 0.95  # the quantile of rows' lengths that stands for all: a batch is as wide as its longest


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """An estimate for each device, bytes and seconds; ``seconds`` counts training, not validation."""

    parameters: int
    learning: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    runtime: int
    flops: float
    seconds: float
    machine: Machine

    @property
    def total(self) -> int:
        """Bytes at the peak, in the backward pass of a step."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.runtime

    @property
    def fits(self) -> bool:
        """Whether the machine has that much."""
        return self.total <= self.machine.memory

    def to_frame(self) -> pd.DataFrame:
        """Return one row, sizes in bytes."""
        row = asdict(self) | {"machine": self.machine.name, "total": self.total, "fits": self.fits}
        return pd.DataFrame([row])

    def sentence(self) -> str:
        """Say it in one line."""
        parts = {"weights": self.weights, "gradients": self.gradients, "optimizer": self.optimizer}
        parts |= {"activations": self.activations, "runtime": self.runtime}
        said = ", ".join(f"{name} {size(value)}" for name, value in parts.items() if value)
        return (
            f"about {size(self.total)} of {size(self.machine.memory)} ({said}) and {duration(self.seconds)} "
            f"on {self.machine.name}; {self.learning:,} of {self.parameters:,} parameters learn"
        )


def estimate_cost(
    config: PreTrainedConfig,
    tune: TuneConfig,
    *,
    tokens_per_row: float,
    answer_tokens: float | None = None,
    rows: int,
    machine: Machine | None = None,
) -> CostEstimate:
    """Estimate memory and time of fine-tuning a model of this configuration.

    Args:
        config: the model's.
        tune: how it is trained.
        tokens_per_row: a row's tokens with its answer and its padding.
        answer_tokens: those of them that are scored, all without it; a large vocabulary's logits are only of
            these (:func:`finetune.evaluation.unembedding.packed_loss`).
        rows: the number of facts, from which epochs get their steps.
        machine: this one unless given.
    """
    machine = machine or this_machine(tune.dtype)
    length = max(2, round(tokens_per_row))
    micro = max(1, tune.batch // (machine.processes * tune.accumulate))
    read = length if answer_tokens is None else min(length, round(answer_tokens) + 1)
    model = _on_meta(config, tune)
    total = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # The weights that are multiplied with for each token: all but embeddings, norms and biases.
    products = (torch.nn.Linear, Conv1D)
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, products))
    shared_by = machine.processes if machine.sharded else 1
    ordinary = 2 if tune.dtype == "bfloat16" else 4
    weights = (total - learning) * ordinary + learning * 4
    if tune.method == "full" and tune.dtype == "bfloat16" and tune.gradient_checkpointing:
        weights += 2 * linear  # autocast's bf16 copies; without checkpointing they are saved, hence counted
    steps = tune.steps_for(rows)
    flops = step_flops(config, tune, linear=linear, length=length) * steps * tune.batch / machine.processes
    return CostEstimate(
        parameters=total,
        learning=learning,
        weights=weights // shared_by,
        gradients=4 * learning // shared_by,
        optimizer=8 * learning // shared_by,
        activations=_activations(config, tune, micro=micro, length=length, read=read),
        runtime=RUNTIME[machine.kind],
        flops=flops * machine.processes,
        seconds=flops / machine.flops,
        machine=machine,
    )


def estimate_prompt_costs(
    base: Source, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], tune: TuneConfig
) -> CostEstimate:
    """Estimate memory and time of fine-tuning ``base`` on prompts, shared by the processes there are.

    Raises:
        InputError: the base has no configuration, or an answer tokenises to nothing.
    """
    pairs = tokenize_with_answer(tokenizer, prompts, [p.answers[0] for p in prompts])
    machine = replace(
        this_machine(tune.dtype),
        processes=distributed.process_count(),
        sharded=os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true",
    )
    said = np.array([len(answer) + 1 for _, answer in pairs])
    return estimate_cost(
        configuration_of(base),
        tune,
        tokens_per_row=float(np.quantile(said + [len(asked) for asked, _ in pairs], LONG)),
        answer_tokens=float(np.quantile(said, LONG)),
        rows=len(prompts),
        machine=machine,
    )


def require_room(budget: CostEstimate) -> None:
    """Refuse a training that cannot fit.

    Raises:
        InputError: says how much is missing, and what takes less.
    """
    if not budget.fits:
        raise InputError(
            f"the training does not fit: it takes {budget.sentence()}; use a smaller batch piece "
            "(accumulate), gradient checkpointing, LoRA with bfloat16, or several GPUs with FSDP"
        )


def step_flops(
    config: PreTrainedConfig, tune: TuneConfig, *, linear: int, length: int, again: bool = True
) -> float:
    """Return the FLOPs that one row takes; ``again=False`` leaves out what checkpointing computes twice."""
    text = config.get_text_config()
    passes = 4 if tune.method == "lora" else 6
    repeated = 2 if tune.gradient_checkpointing and again else 0
    attention = 4 * text.num_hidden_layers * text.hidden_size * length
    return length * (linear * (passes + repeated) + attention * (3 + repeated / 2))


def _on_meta(config: PreTrainedConfig, tune: TuneConfig, *, layers: int | None = None) -> Any:
    """Build the model, with its adapter, without contents; ``layers`` takes the place of its own number."""

    if layers is not None:
        config = copy.deepcopy(config)
        config.get_text_config().num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    with torch.device("meta"):
        dtype = torch.bfloat16 if tune.dtype == "bfloat16" and tune.method == "lora" else torch.float32
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention_of(config), trust_remote_code=False
        )
        if tune.method == "lora":
            model = get_peft_model(model, lora_config(model, tune))
    return model


def _activations(config: PreTrainedConfig, tune: TuneConfig, *, micro: int, length: int, read: int) -> int:
    text = config.get_text_config()
    read = read if is_packed(micro * length * text.vocab_size) else length
    one, two = (
        _saved_for_backward(_on_meta(config, tune, layers=n), tune, micro=micro, length=length, read=read)
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
