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

Method = Literal["full", "lora"]
Keep = Literal["best", "last", "loss"]
Dtype = Literal["float32", "bfloat16"]
ALL_LINEAR: Final = "all-linear"

# Settings that change the cost of a training, and its result by no more than rounding.
COST = ("accumulate", "gradient_checkpointing", "save_every")
# What full fine-tuning does not read.
LORA = ("rank", "alpha", "dropout", "targets")
# What these do is nothing at these values, so a recipe without them is the same recipe.
UNCURED = {"qk_rate": 1.0, "attention_penalty": 0.0, "distil": 0.0}


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How an arm is fine-tuned.

    ``learning_rates`` is the grid. Every ``check_every`` steps validation accuracy and the loss on training
    facts are measured. ``keep`` says which checkpoint of a training is kept: the ``best`` on validation
    facts, the ``last`` (equal steps), or the first whose loss is at most ``until_loss`` nats a training
    answer (equal ``loss``), where training stops. Of several learning rates the one that validates best is
    taken. ``epochs`` passes over the facts, rounded up to a whole step, take the place of ``steps``.

    ``rank``, ``alpha``, ``dropout`` and ``targets`` are LoRA's; targets are all linear layers but the output
    head, or the names of some (``q_proj``). ``dtype="bfloat16"`` computes in bf16 under autocast: weights
    stay float32 in full fine-tuning; with LoRA the frozen base is bf16 and the adapter float32.

    Every step's ``batch`` is computed in ``accumulate`` pieces in each process. Every ``trajectory`` steps
    the model is kept beside the result, in ``checkpoint-N``. Every ``save_every`` steps a state is saved from
    which a killed training continues (0: never); by default from time to time, where training is long.

    Against losing what the base knew (:mod:`finetune.training.mitigations`): ``qk_rate`` is the share of
    the learning rate that W_Q and W_K get (0 freezes them), ``attention_penalty`` weighs the subject
    attention lost against the base, ``distil`` the divergence from what the base says of known facts.
    """

    method: Method = "full"
    steps: Count = 100
    batch: Count = 128
    learning_rates: tuple[Rate, ...] = (3e-4, 1e-3)
    check_every: Count = 20
    keep: Keep = "best"
    until_loss: Positive = 1.0
    rank: Annotated[int, Within(1, 100_000)] = 16
    alpha: Count = 32
    dropout: ShareBelowOne = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = ALL_LINEAR
    dtype: Dtype = "float32"
    epochs: Annotated[float, Within(0, 1e6, open_low=True)] | None = None
    accumulate: Count = 1
    gradient_checkpointing: bool = False
    trajectory: CountOrNone = 0
    save_every: CountOrNone | None = None
    qk_rate: PositiveOrZero = 1.0
    attention_penalty: PositiveOrZero = 0.0
    distil: PositiveOrZero = 0.0

    def __post_init__(self) -> None:
        require_valid(self, flags=False)
        if not self.learning_rates:
            raise InputError("learning rates: give at least one")
        if not self.targets or (isinstance(self.targets, str) and self.targets != ALL_LINEAR):
            raise InputError(f"targets = {self.targets!r}: give {ALL_LINEAR} or a tuple of names of layers")

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
