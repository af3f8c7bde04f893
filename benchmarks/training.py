"""What training costs: tokens a second, model FLOP utilisation and peak memory, beside the estimate.

    python benchmarks/training.py [--preset small|1b|7b --method lora --batch 16 --tokens 64]

A Llama configuration with random weights is trained through the same shell as any arm; the first steps are
not timed. Model FLOPs are those of forward and backward, without what gradient checkpointing computes again;
utilisation is against ``--peak`` TFLOP/s, which is the published one of a known GPU, or else what a large
matmul reaches in the same precision. bf16 is the default on a GPU, float32 on a CPU, where bf16 is often
emulated. The last line is JSON.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from peak import peak_memory
from transformers import AutoModelForCausalLM, LlamaConfig, TrainerCallback

from finetune.training.config import Dtype, Method, TuneConfig
from finetune.training.cost_estimate import estimate_cost, step_flops
from finetune.training.examples import TokenRows
from finetune.training.lora import lora_config
from finetune.training.machine import GIB, this_machine
from finetune.training.presets import RECIPES
from finetune.training.trainer import Schedule, fit

SHAPES = {
    "small": (8000, 256, 704, 4, 8),
    "1b": (32000, 2048, 5632, 22, 16),
    "7b": (32000, 4096, 11008, 32, 32),
}
PEAK = {"H100": 989.0, "H200": 989.0, "A100": 312.0}  # TFLOP/s in bf16, dense, as published


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which model, how it is trained, and for how long."""

    preset: Literal["small", "1b", "7b"] = "small"
    method: Method = "lora"
    dtype: Dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    batch: int = 16
    tokens: int = 64
    accumulate: int = 1
    gradient_checkpointing: bool = False
    steps: int = 10
    untimed: int = 3
    peak: float = 0.0


class Clock(TrainerCallback):
    """Note when each step ends, the device's queue emptied."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **_):  # type: ignore[no-untyped-def]
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def main(options: Options) -> None:
    config = llama(options.preset)
    tune = TuneConfig(
        method=options.method,
        dtype=options.dtype,
        batch=options.batch,
        steps=options.steps,
        accumulate=options.accumulate,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    machine = this_machine(options.dtype)
    expected = estimate_cost(config, tune, tokens_per_row=options.tokens, rows=options.batch, machine=machine)
    model = random_model(config, tune)
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    clock = Clock()
    train(model, config, tune, options, clock)
    seconds = float(np.median(np.diff(clock.ends)[options.untimed :]))
    per_step = options.batch * step_flops(config, tune, linear=linear, length=options.tokens, again=False)
    peak = options.peak or next((v for k, v in PEAK.items() if k in machine.name), machine.flops * 2 / 1e12)
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory()
    found = {
        "device": machine.name,
        "preset": options.preset,
        "tokens_per_second": round(options.batch * options.tokens / seconds, 1),
        "model_tflops": round(per_step / seconds / 1e12, 4),
        "utilisation": round(per_step / seconds / (peak * 1e12), 3),
        "peak_gib": round(memory / GIB, 2),
        "estimated_gib": round(expected.total / GIB, 2),
        "estimated_over_measured_seconds": round(expected.seconds / options.steps / seconds, 2),
    }
    print(f"{seconds:.3f} s a step of {options.batch} x {options.tokens} tokens; {expected.sentence()}")
    print(json.dumps(found))


def llama(preset: str) -> LlamaConfig:
    """Build the configuration; the 7B one is Llama-2's."""
    vocabulary, width, mlp, layers, heads = SHAPES[preset]
    if preset == "7b":
        return RECIPES["llama-2-7b"].config()  # type: ignore[return-value]
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
    )


def random_model(config: LlamaConfig, tune: TuneConfig) -> torch.nn.Module:
    """Make the model as ``trainable`` loads one, with random weights, on the GPU if there is one."""
    frozen = tune.method == "lora"
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        dtype = getattr(torch, tune.dtype) if frozen else torch.float32
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        if frozen:
            from peft import get_peft_model

            model = get_peft_model(model, lora_config(model, replace(tune)))
    return model


def train(
    model: torch.nn.Module, config: LlamaConfig, tune: TuneConfig, options: Options, clock: Clock
) -> None:
    """Train on random rows, all of one length."""
    rng, texts = np.random.default_rng(0), 64
    rows = TokenRows(
        ids=rng.integers(config.vocab_size, size=(texts, options.tokens), dtype=np.int32),
        lengths=np.full(texts, options.tokens),
        scored_from=np.full(texts, options.tokens // 2),
        order=rng.integers(texts, size=options.steps * options.batch),
    )
    schedule = Schedule(
        steps=options.steps,
        batch=options.batch,
        learning_rate=1e-4,
        accumulate=tune.accumulate,
        bfloat16=tune.dtype == "bfloat16",
        gradient_checkpointing=tune.gradient_checkpointing,
    )
    with tempfile.TemporaryDirectory() as work:
        fit(model, rows, schedule, Path(work), seed=0, description="Timing", callbacks=[clock])  # type: ignore[arg-type]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
