"""Named presets for fine-tuning real models on facts, each with its reason, expected memory and time.

The configurations are the published ones, written down so that nothing is downloaded to estimate what a
training takes. Expected figures come from :mod:`finetune.training.cost_estimate` on the machine that a
preset names. The FLOP/s of a GPU are its published peak in bf16 times ``UTILISATION``, an assumption until
``benchmarks/training.py`` has measured it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.common.errors import InputError
from finetune.training.config import TuneConfig
from finetune.training.machine import GIB, Machine, duration, size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from finetune.training.cost_estimate import CostEstimate

UTILISATION = 0.3
H100 = Machine(name="one H100 (80 GB)", memory=79 * GIB, flops=989e12 * UTILISATION)
A100 = Machine(name="one A100 (80 GB)", memory=79 * GIB, flops=312e12 * UTILISATION)
EIGHT_A100 = Machine(
    name="8 x A100 (80 GB), FSDP", memory=79 * GIB, flops=312e12 * UTILISATION, processes=8, sharded=True
)
TWO_CORES = Machine(name="two CPU cores", memory=8 * GIB, flops=40e9, kind="cpu")
ROWS = 6000  # facts: the training part of PopQA's 14,267, halved
TOKENS = 32.0  # of "Question: ... Answer: ..." in the models' own tokenizers, with padding


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A base by its hub id and published configuration, how it is fine-tuned, and why so."""

    base: str
    reason: str
    model_type: str
    numbers: Mapping[str, Any]
    parameters: int
    tune: TuneConfig
    machine: Machine
    rows: int = ROWS
    tokens_per_row: float = TOKENS

    def config(self) -> PreTrainedConfig:
        """Build the published configuration."""
        from transformers import AutoConfig  # a list of recipes, as --help shows, needs no library of models

        return AutoConfig.for_model(self.model_type, **self.numbers)

    def expected(self, machine: Machine | None = None) -> CostEstimate:
        """Estimate memory and time for one learning rate."""
        from finetune.training.cost_estimate import estimate_cost

        return estimate_cost(
            self.config(),
            self.tune,
            tokens_per_row=self.tokens_per_row,
            rows=self.rows,
            machine=machine or self.machine,
        )


# Adapters on all linear layers, at rates about ten times those that full fine-tuning takes; which rate, and
# which step of three passes over the facts, validation chooses. Two pieces a step let a 7B fit 40 GB.
_LORA = TuneConfig(
    method="lora",
    epochs=3.0,
    batch=64,
    learning_rates=(1e-4, 3e-4),
    check_every=25,
    rank=16,
    alpha=32,
    dropout=0.05,
    dtype="bfloat16",
    accumulate=2,
)
# Full fine-tuning of billions of weights: small rates, or the base's facts go first; 16 bytes a weight.
_FULL = TuneConfig(
    method="full",
    epochs=2.0,
    batch=64,
    learning_rates=(5e-6, 2e-5),
    check_every=25,
    dtype="bfloat16",
    gradient_checkpointing=True,
)
_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
}
_QWEN = {"vocab_size": 151936, "max_position_embeddings": 131072}
_PYTHIA = {"vocab_size": 50304, "max_position_embeddings": 2048, "rotary_pct": 0.25}

RECIPES: dict[str, Recipe] = {
    "llama-2-7b": Recipe(
        base="meta-llama/Llama-2-7b-hf",
        reason="the paper's first model; needs a login and the licence accepted on the hub",
        model_type="llama",
        numbers=_LLAMA,
        parameters=6_738_415_616,
        tune=_LORA,
        machine=A100,
    ),
    "llama-2-7b-full": Recipe(
        base="meta-llama/Llama-2-7b-hf",
        reason="the paper's full fine-tuning: weights, gradients and moments need several GPUs",
        model_type="llama",
        numbers=_LLAMA,
        parameters=6_738_415_616,
        tune=_FULL,
        machine=EIGHT_A100,
    ),
    "mistral-7b": Recipe(
        base="mistralai/Mistral-7B-v0.1",
        reason="the paper's second model: grouped-query attention",
        model_type="mistral",
        numbers={
            **_LLAMA,
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
        },
        parameters=7_241_732_096,
        tune=_LORA,
        machine=A100,
    ),
    "pythia-1.4b": Recipe(
        base="EleutherAI/pythia-1.4b",
        reason="its pretraining text (the Pile) is public, so popularity can be counted in it",
        model_type="gpt_neox",
        numbers={
            **_PYTHIA,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
        parameters=1_414_647_808,
        tune=_LORA,
        machine=A100,
    ),
    "pythia-6.9b": Recipe(
        base="EleutherAI/pythia-6.9b",
        reason="as pythia-1.4b, at the paper's size",
        model_type="gpt_neox",
        numbers={
            **_PYTHIA,
            "vocab_size": 50432,
            "hidden_size": 4096,
            "intermediate_size": 16384,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
        parameters=6_857_302_016,
        tune=_LORA,
        machine=A100,
    ),
    "qwen2.5-1.5b": Recipe(
        base="Qwen/Qwen2.5-1.5B",
        reason="open to all and small enough for a 16 GB GPU",
        model_type="qwen2",
        numbers={
            **_QWEN,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        parameters=1_543_714_304,
        tune=_LORA,
        machine=A100,
    ),
    "qwen2.5-7b": Recipe(
        base="Qwen/Qwen2.5-7B",
        reason="a recent model of the paper's size, open to all",
        model_type="qwen2",
        numbers={
            **_QWEN,
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        parameters=7_615_616_512,
        tune=_LORA,
        machine=H100,
    ),
    "cpu": Recipe(
        base="EleutherAI/pythia-70m",
        reason="two minutes on two cores: to see the whole path run before renting a GPU",
        model_type="gpt_neox",
        numbers={
            **_PYTHIA,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
        },
        parameters=70_426_624,
        tune=TuneConfig(
            method="lora", steps=40, batch=16, learning_rates=(1e-3,), check_every=10, rank=16, alpha=32
        ),
        machine=TWO_CORES,
        rows=640,
    ),
}


def recipe(name: str) -> Recipe:
    """Look a preset up.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"preset {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def table() -> str:
    """Return the presets as a Markdown table, as docs/training.md shows it."""
    lines = [
        "| preset | base | method | steps x batch | GPU | memory a device | time a learning rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, held in RECIPES.items():
        expected, tune = held.expected(), held.tune
        method = f"LoRA r={tune.rank}" if tune.method == "lora" else "full"
        precision = "bf16" if tune.dtype == "bfloat16" else "float32"
        steps = f"{tune.steps_for(held.rows)} x {tune.batch}"
        lines.append(
            f"| `{name}` | {held.base} | {method}, {precision} | {steps} | {held.machine.name} "
            f"| {size(expected.total)} | {duration(expected.seconds)} |"
        )
    return "\n".join(lines)
