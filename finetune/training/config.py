"""Configuration of fine-tuning: what decides the result, and what only decides how it is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Annotated, Any, Final, Literal

from finetune.common.errors import InputError
from finetune.common.option_checks import (
    Count,
    CountOrNone,
    Positive,
    PositiveOrZero,
    Rate,
    ShareBelowOne,
    Within,
    require_valid,
)
from finetune.common.short_repr import ShortRepr
from finetune.training.projections import Part

Method = Literal["full", "lora"]
Keep = Literal["best", "last", "loss"]
Dtype = Literal["float32", "bfloat16"]
ALL_LINEAR: Final = "all-linear"

# Settings that change the cost of a training, and its result by no more than rounding.
COST = ("accumulate", "gradient_checkpointing", "save_every")
# What full fine-tuning does not read.
LORA = ("rank", "alpha", "dropout", "targets")
# What these do is nothing at these values, so a recipe without them is the same recipe.
UNCURED = {"qk_rate": 1.0, "attention_penalty": 0.0, "distil": 0.0, "part": "all"}


@dataclass(frozen=True, kw_only=True)
class TuneConfig(ShortRepr):
    """How an arm is fine-tuned; of several learning rates the one that validates best is taken."""

    method: Method = "full"
    """Fine-tune all weights, or LoRA adapters."""
    steps: Count = 100
    """Optimiser steps, in the place of epochs (default of factscope tune: the preset's; without one epochs
    count, unless this is given)."""
    batch: Count = 128
    """Facts a step."""
    learning_rates: tuple[Rate, ...] = (3e-4, 1e-3)
    """The grid of learning rates."""
    check_every: Count = 20
    """Measure validation accuracy and the loss on training facts every so many steps."""
    keep: Keep = "best"
    """Which checkpoint of a training is kept: the best on validation facts, the last (equal steps), or the
    first at a loss, where training stops."""
    until_loss: Positive = 1.0
    """With keep = loss: the loss on training answers (nats an answer)."""
    rank: Annotated[int, Within(1, 100_000)] = 16
    """LoRA's rank."""
    alpha: Count = 32
    """LoRA's scale: updates are multiplied by alpha / rank."""
    dropout: ShareBelowOne = 0.0
    """LoRA's dropout."""
    targets: Literal["all-linear"] | tuple[str, ...] = ALL_LINEAR
    """LoRA's layers: all linear ones but the output head, or the names of some (q_proj)."""
    dtype: Dtype = "float32"
    """Numbers that are computed in; with bfloat16 weights stay float32 in full fine-tuning, and with LoRA the
    frozen base is bfloat16 and the adapter float32 (default of factscope tune: the preset's; without one
    bfloat16 for LoRA on a CPU that is much faster in it, with a notice, else float32)."""
    epochs: Annotated[float, Within(0, 1e6, open_low=True)] | None = None
    """Passes over the facts, rounded up to a whole step, in the place of steps (default of factscope tune:
    the preset's; without one 10, unless --steps is given)."""
    accumulate: Count = 1
    """Pieces in which each process computes a step's batch."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time."""
    trajectory: CountOrNone = 0
    """Keep the model beside the result every so many steps, in checkpoint-N (0: never)."""
    save_every: CountOrNone | None = None
    """Save a state every so many steps, from which a killed training continues (0: never; by default from
    time to time, where training is long)."""
    qk_rate: PositiveOrZero = 1.0
    """Share of the learning rate that W_Q and W_K get; 0 freezes them (finetune.training.mitigations)."""
    attention_penalty: PositiveOrZero = 0.0
    """Weight of the subject attention that is lost against the base."""
    distil: PositiveOrZero = 0.0
    """Weight of the divergence from what the base says of known facts."""
    part: Part = "all"
    """What full fine-tuning trains: all weights, W_Q and W_K (routing), or W_V, W_O and the MLPs (values)."""

    def __post_init__(self) -> None:
        require_valid(self, flags=False)
        if not self.learning_rates:
            raise InputError("learning rates: give at least one")
        if not self.targets or (isinstance(self.targets, str) and self.targets != ALL_LINEAR):
            raise InputError(f"targets = {self.targets!r}: give {ALL_LINEAR} or a tuple of names of layers")

        if self.part != "all" and self.method == "lora":
            raise InputError(
                f"part = {self.part}: goes with full fine-tuning; for LoRA name targets (q_proj)"
            )

    def steps_for(self, prompts: int) -> int:
        """Return how many steps a training on so many prompts takes."""
        return self.steps if self.epochs is None else ceil(self.epochs * prompts / self.batch - 1e-9)

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the result, JSON-able; not those that only decide its cost."""
        every = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}
        return {n: v for n, v in every.items() if n not in COST and (n not in UNCURED or v != UNCURED[n])}


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """Shape of the base (Llama architecture) and how long it is pretrained."""

    layers: int = 2
    width: int = 128
    heads: int = 4
    mlp: int = 344
    steps: int = 1500
    batch: int = 256
    learning_rate: float = 2e-3


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How pretraining text is sampled from facts.

    A fact is drawn with weight popularity^``exponent``. ``asked_share`` of the subjects are also met in
    question form; ``question_share`` of the rows about them are questions.
    """

    exponent: float = 1.0
    asked_share: float = 0.5
    question_share: float = 0.5
