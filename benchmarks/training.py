"""What training costs: tokens a second, model FLOP utilisation and peak memory, beside the estimate.

    python benchmarks/training.py [--preset small|1b|7b --method lora --batch 16 --tokens 64]
    python benchmarks/training.py --base smollm2-135m --dtype bfloat16 --batch 32 --tokens 24

A Llama configuration with random weights, or a base, is trained through the same shell as any arm, and then
in a bare loop of PyTorch on the same batches (forward, backward, clipping, AdamW); the first steps are not
timed. Model FLOPs are those of forward and backward, without what gradient checkpointing computes again;
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
from finetune.training.lora import lora_config, trainable_model
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
    base: str = ""  # a checkpoint in the place of the preset's random weights
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
    tune = TuneConfig(
        method=options.method,
        dtype=options.dtype,
        batch=options.batch,
        steps=options.steps,
        accumulate=options.accumulate,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    model = trainable_model(options.base, tune)[0] if options.base else random_model(options.preset, tune)
    config = model.config
    machine = this_machine(options.dtype)
    expected = estimate_cost(config, tune, tokens_per_row=options.tokens, rows=options.batch, machine=machine)
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    clock = Clock()
    rows = random_rows(config.vocab_size, options)
    train(model, rows, tune, options, clock)
    seconds, bare = (
        float(np.median(np.diff(ends)[options.untimed :]))
        for ends in (clock.ends, bare_loop(model, rows, options))
    )
    per_step = options.batch * step_flops(config, tune, linear=linear, length=options.tokens, again=False)
    peak = options.peak or next((v for k, v in PEAK.items() if k in machine.name), machine.flops * 2 / 1e12)
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory()
    found = {
        "device": machine.name,
        "preset": options.preset,
        "tokens_per_second": round(options.batch * options.tokens / seconds, 1),
        "model_tflops": round(per_step / seconds / 1e12, 4),
        "speed_over_bare_loop": round(bare / seconds, 3),
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


def random_model(preset: str, tune: TuneConfig) -> torch.nn.Module:
    """Make the model as ``trainable_model`` loads one, with random weights, on the GPU if there is one."""
    config, frozen = llama(preset), tune.method == "lora"
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        dtype = getattr(torch, tune.dtype) if frozen else torch.float32
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        if frozen:
            from peft import get_peft_model

            model = get_peft_model(model, lora_config(model, replace(tune)))
    return model


def random_rows(vocabulary: int, options: Options) -> TokenRows:
    """Make random rows, all of one length, half of which is scored."""
    rng, texts = np.random.default_rng(0), 64
    return TokenRows(
        ids=rng.integers(vocabulary, size=(texts, options.tokens), dtype=np.int32),
        lengths=np.full(texts, options.tokens),
        scored_from=np.full(texts, options.tokens // 2),
        order=rng.integers(texts, size=options.steps * options.batch),
    )


def bare_loop(model: torch.nn.Module, rows: TokenRows, options: Options) -> list[float]:
    """Train on the same batches without any shell; return when each step ended."""
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer, device = torch.optim.AdamW(learning, lr=1e-4), learning[0].device
    ends = []
    model.train()
    for start in range(0, len(rows), options.batch):
        batch = rows.collate([rows[i] for i in range(start, start + options.batch)])
        with torch.autocast(device.type, torch.bfloat16, enabled=options.dtype == "bfloat16"):
            loss = model(**{name: part.to(device) for name, part in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())
    return ends


def train(model: torch.nn.Module, rows: TokenRows, tune: TuneConfig, options: Options, clock: Clock) -> None:
    """Train through the shell."""
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
