"""Fine-tuning on facts, LoRA or full, keeping the checkpoint that answers most validation facts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from finetune.evaluate import score
from finetune.examples import answer_examples
from finetune.facts import InputError
from finetune.files import atomic_directory, read_json, write_json
from finetune.fitting import Schedule, fit
from finetune.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

Method = Literal["full", "lora"]
Keep = Literal["best", "last", "loss"]
PROBE = 256  # training facts on which the loss is measured


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How an arm is fine-tuned.

    ``learning_rates`` is the grid. Every ``check_every`` steps validation accuracy and the loss on training
    facts are measured. ``keep`` says which checkpoint of a training is kept: the ``best`` on validation
    facts, the ``last`` (equal steps), or the first whose loss is at most ``until_loss`` nats a training
    answer (equal ``loss``), where training stops. Of several learning rates the one that validates best is
    taken. ``rank`` and ``alpha`` are LoRA's.
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

    def __post_init__(self) -> None:
        if self.method not in ("full", "lora"):
            raise InputError(f"--method {self.method}: choose full or lora")
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise InputError(f"learning rates {self.learning_rates}: give at least one, all above 0")
        if self.keep not in get_args(Keep):
            raise InputError(f"keep = {self.keep!r}: choose one of {', '.join(get_args(Keep))}")
        if self.until_loss <= 0:
            raise InputError(f"until_loss = {self.until_loss}: give nats above 0")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A kept checkpoint: where it is, and what chose it.

    ``training_loss`` is in nats an answer, on a sample of the training facts; with ``keep="loss"`` it may lie
    above the wanted one, where no step reached it.
    """

    path: Path
    learning_rate: float
    step: int
    validation_accuracy: float
    training_loss: float


def train(
    base: Path | str,
    prompts: Sequence[Prompt],
    validation: Sequence[Prompt],
    out: Path,
    *,
    config: TuneConfig | None = None,
    learning_rate: float | None = None,
    stages: Sequence[int] | None = None,
    seed: int = 0,
    name: str = "model",
) -> Checkpoint:
    """Fine-tune ``base`` on ``prompts`` at one learning rate; keep one checkpoint, in ``out``.

    ``stages`` gives every prompt its place in the order of training: the lowest come first. ``out`` becomes
    an ordinary checkpoint (full) or adapter (LoRA) directory with its tokenizer and ``training.json``. A
    finished ``out`` is returned as it is.
    """
    from transformers import set_seed

    config = config or TuneConfig()
    learning_rate = config.learning_rates[0] if learning_rate is None else learning_rate
    if (out / "training.json").is_file():
        return read_checkpoint(out)
    set_seed(seed)
    model, tokenizer = _trainable(base, config)
    rows = answer_examples(tokenizer, prompts, rows=config.steps * config.batch, seed=seed, stages=stages)
    work = out.with_name(f"{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    keeper = _Keeper(model, tokenizer, validation, _sample(prompts, seed), work / "best", config)
    schedule = Schedule(
        steps=config.steps, batch=config.batch, learning_rate=learning_rate, warmup=min(10, config.steps // 5)
    )
    fit(
        model,
        rows,
        schedule,
        work / "trainer",
        seed=seed,
        description=f"Fine-tuning {name}, learning rate {learning_rate:g}",
        callbacks=[keeper.callback()],
    )
    record = {"learning_rate": learning_rate, "config": asdict(config), "seed": seed, **keeper.record()}
    write_json(work / "best" / "training.json", record)
    (work / "best").replace(out)
    shutil.rmtree(work)
    return read_checkpoint(out)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what ``train`` recorded beside a checkpoint."""
    record = read_json(path / "training.json")
    return Checkpoint(
        path=path,
        learning_rate=record["learning_rate"],
        step=record["step"],
        validation_accuracy=record["validation_accuracy"],
        training_loss=record.get("training_loss", float("nan")),
    )


def _sample(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    chosen = np.random.default_rng([seed, 23]).permutation(len(prompts))[:PROBE]
    return [prompts[i] for i in sorted(chosen)]


def _trainable(base: Path | str, config: TuneConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the base in float32 and, for LoRA, put a fresh adapter on all its linear layers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if config.method == "full":
        return model, tokenizer
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return get_peft_model(model, lora), tokenizer  # type: ignore[return-value]


class _Keeper:
    """Keeps one checkpoint on disk, the one that the configuration asks for (the first of equals)."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        validation: Sequence[Prompt],
        probe: Sequence[Prompt],
        path: Path,
        config: TuneConfig,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.validation, self.probe = validation, probe
        self.path, self.config = path, config
        self.kept: dict[str, Any] = {}
        self.curve: list[dict[str, Any]] = []

    def check(self, step: int) -> bool:
        """Measure the model at ``step``, keep it if it is wanted, and say whether training may stop."""
        log_prob, exact = score(self.model, self.tokenizer, self.validation)
        loss = -float(score(self.model, self.tokenizer, self.probe)[0].mean())
        now = {
            "step": step,
            "accuracy": float(exact.mean()),
            "log_prob": float(log_prob.mean()),
            "loss": loss,
        }
        self.curve.append(now)
        if self.config.keep != "best" or now["accuracy"] > self.kept.get("accuracy", -1.0):
            self.kept = now
            with atomic_directory(self.path) as target:
                self.model.save_pretrained(target)
                self.tokenizer.save_pretrained(target)
        return self.config.keep == "loss" and loss <= self.config.until_loss

    def record(self) -> dict[str, Any]:
        """Return what chose the kept checkpoint."""
        return {
            "step": self.kept["step"],
            "validation_accuracy": self.kept["accuracy"],
            "training_loss": self.kept["loss"],
            "curve": self.curve,
        }

    def callback(self) -> TrainerCallback:
        """Return the hook that checks every few steps and at the end."""
        from transformers import TrainerCallback

        keeper = self

        class Check(TrainerCallback):
            """Measure the model during training."""

            def on_step_end(self, args, state, control, **_):  # type: ignore[no-untyped-def]
                if state.global_step % keeper.config.check_every == 0 or state.global_step == state.max_steps:
                    control.should_training_stop |= keeper.check(state.global_step)
                    keeper.model.train()

        return Check()
