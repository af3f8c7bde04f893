"""How an arm is fine-tuned, as data: what decides the result, and what only decides how it is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Final, Literal, get_args

from finetune.facts import InputError

Method = Literal["full", "lora"]
Keep = Literal["best", "last", "loss"]
Dtype = Literal["float32", "bfloat16"]
ALL_LINEAR: Final = "all-linear"

# Settings that change the cost of a training, and its result by no more than rounding.
COST = ("accumulate", "gradient_checkpointing", "save_every")
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

    Against losing what the base knew (:mod:`finetune.curing`): ``qk_rate`` is the share of the learning rate
    that W_Q and W_K get (0 freezes them), ``attention_penalty`` weighs the subject attention lost against the
    base, ``distil`` the divergence from what the base says of known facts.
    """

    method: Method = "full"
    steps: int = 100
    batch: int = 128
    learning_rates: tuple[float, ...] = (3e-4, 1e-3)
    check_every: int = 20
    keep: Keep = "best"
    until_loss: float = 1.0
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = ALL_LINEAR
    dtype: Dtype = "float32"
    epochs: float | None = None
    accumulate: int = 1
    gradient_checkpointing: bool = False
    trajectory: int = 0
    save_every: int | None = None
    qk_rate: float = 1.0
    attention_penalty: float = 0.0
    distil: float = 0.0

    def __post_init__(self) -> None:
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise InputError(f"learning rates {self.learning_rates}: give at least one, all above 0")
        for name, kind in (("method", Method), ("keep", Keep), ("dtype", Dtype)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise InputError(f"{name} = {value!r}: choose one of {', '.join(get_args(kind))}")
        if self.until_loss <= 0:
            raise InputError(f"until_loss = {self.until_loss}: give nats above 0")
        for name in ("steps", "batch", "check_every", "rank", "alpha", "accumulate"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"{name} = {value}: give a number of at least 1")
        if self.trajectory < 0 or (self.save_every or 0) < 0:
            raise InputError("trajectory and save_every count steps: give 0 (never) or more")
        for name in UNCURED:
            if (value := getattr(self, name)) < 0:
                raise InputError(f"{name} = {value}: give 0 or more")
        if self.epochs is not None and self.epochs <= 0:
            raise InputError(f"epochs = {self.epochs}: give a number above 0, or steps instead")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout = {self.dropout}: give a share of at least 0 and below 1")
        if not self.targets or (isinstance(self.targets, str) and self.targets != ALL_LINEAR):
            raise InputError(f"targets = {self.targets!r}: give {ALL_LINEAR} or a tuple of names of layers")

    def steps_for(self, prompts: int) -> int:
        """Return how many steps a training on so many prompts takes."""
        return self.steps if self.epochs is None else ceil(self.epochs * prompts / self.batch - 1e-9)

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the result, JSON-able; not those that only decide its cost."""
        settings = _plain(asdict(self))
        return {n: v for n, v in settings.items() if n not in COST and (n not in UNCURED or v != UNCURED[n])}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
