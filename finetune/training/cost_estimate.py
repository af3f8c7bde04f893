"""Cost estimates of a training before it starts: memory and time, from the model's configuration alone.

Counted on the meta device, where tensors have shapes and no contents:

1. Parameters: the model is built, and for LoRA the adapter put on it; tied weights count once.
2. Activations: see :mod:`finetune.training.activation_memory`.
3. FLOPs: per token 2 for every weight of a linear layer forward, 2 backward to the activations, 2 to weights
   that learn, 2 more where layers are computed again; and 4 x layers x width x length for attention's two
   products forward, 2 to 3 times that in all.

Weights that learn take 4 bytes, their gradients 4, AdamW's two moments 8. Not counted: fragmentation, the
libraries' workspaces (a fixed share of them is in ``RUNTIME``), and a base's loading.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from finetune.checkpoints.loading import Source, configuration_of
from finetune.common import distributed
from finetune.common.errors import InputError
from finetune.common.messages import one_line
from finetune.common.progress import duration, notice
from finetune.data.prompts import Prompt
from finetune.data.tokenization import tokenize_with_answer
from finetune.training.activation_memory import activation_memory, model_without_contents
from finetune.training.config import TuneConfig
from finetune.training.machine import GIB, Machine, size, this_machine

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
        about = "about" if self.activations else "without activations"
        return (
            f"{about} {size(self.total)} of {size(self.machine.memory)} ({said}) and "
            f"{duration(self.seconds)} on {self.machine.name}; "
            f"{self.learning:,} of {self.parameters:,} parameters learn"
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
        config: the base's configuration.
        tune: how it is fine-tuned.
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
    model = model_without_contents(config, tune)
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


def _activations(config: PreTrainedConfig, tune: TuneConfig, **sizes: int) -> int:
    """Count activations; nothing, with a notice, where a model does not run without contents."""
    try:
        return activation_memory(config, tune, **sizes)
    # Masks and routers of experts look at values, of which there are none.
    except (AttributeError, RuntimeError, ValueError) as error:
        notice(f"memory of activations is not estimated for {config.model_type} ({one_line(error)})")
        return 0


def estimate_prompt_costs(
    base: Source, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], tune: TuneConfig
) -> CostEstimate:
    """Estimate memory and time of fine-tuning ``base`` on prompts, shared by the processes there are.

    Args:
        base: a directory or hub id.
        tokenizer: the model's own fast tokenizer.
        prompts: what to train on.
        tune: how it is fine-tuned.

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
    """Return the FLOPs that one row takes; ``again=False`` leaves out what checkpointing computes twice.

    Args:
        config: the base's configuration.
        tune: how it is fine-tuned.
        linear: the weights of linear layers.
        length: tokens of the row.
        again: count what checkpointing computes twice.
    """
    text = config.get_text_config()
    passes = 4 if tune.method == "lora" else 6
    repeated = 2 if tune.gradient_checkpointing and again else 0
    attention = 4 * text.num_hidden_layers * text.hidden_size * length
    return length * (linear * (passes + repeated) + attention * (3 + repeated / 2))
