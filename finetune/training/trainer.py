"""The one shell around ``transformers.Trainer``: same rows, same order, resumable, with a progress bar.

A step's rows are the next ``batch`` of the examples, whoever computes them: one process or several, at once
or in pieces. The loss is a mean over all scored tokens of the step, so the results agree up to rounding.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from finetune.common import distributed
from finetune.common.checksums import sealed_state
from finetune.common.errors import InputError
from finetune.common.progress import notice, progress_bar
from finetune.evaluation.unembedding import packed_loss
from finetune.training.callbacks import progress_callback, saving_callback
from finetune.training.examples import TokenRows


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimisation settings: AdamW with linear warm-up and cosine decay.

    ``save_every`` steps a resumable state is kept (0: never; None: by the clock, after a minute and then so
    that saving takes a twentieth of the time). Each process computes its share of ``batch`` in ``accumulate``
    pieces.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 20
    weight_decay: float = 0.01
    beta2: float = 0.99
    save_every: int | None = 0
    accumulate: int = 1
    bfloat16: bool = False
    gradient_checkpointing: bool = False


def fit(
    model: PreTrainedModel,
    examples: TokenRows,
    schedule: Schedule,
    work: Path,
    *,
    seed: int,
    description: str,
    callbacks: Sequence[TrainerCallback] = (),
    trainer_class: type[Trainer] | None = None,
) -> float:
    """Train ``model`` in place on ``examples`` in their order and return the mean training loss.

    Args:
        model: trained in place.
        examples: the rows, in their order.
        schedule: optimisation settings.
        work: where states are saved; one that an interrupted run left is continued.
        seed: of dropout.
        description: names the work beside a progress bar.
        callbacks: further ones; one that has ``set_trainer`` is told of its trainer.
        trainer_class: computes another loss, or optimises otherwise.

    Raises:
        InputError: the batch cannot be shared between the processes and their pieces.
    """
    arguments = _arguments(schedule, work, seed)
    silent = nullcontext(lambda done: None)
    with progress_bar(description, total=schedule.steps) if distributed.is_main() else silent as advance:
        trainer = (trainer_class or Trainer)(
            model=model,
            args=arguments,
            train_dataset=examples,  # type: ignore[arg-type]  # a map-style data set of text indices
            data_collator=examples.collate,
            callbacks=[progress_callback(advance), *callbacks, saving_callback(schedule.save_every)],
        )
        trainer.remove_callback(PrinterCallback)
        for callback in callbacks:
            if hasattr(callback, "set_trainer"):
                callback.set_trainer(trainer)
        state = distributed.broadcast_from_main(_resumable(work) if distributed.is_main() else None)
        with packed_loss(model):
            result = trainer.train(resume_from_checkpoint=state)
    return float(result.training_loss)


def microbatch_size(batch: int, accumulate: int) -> int:
    """Return how many rows a process computes at once.

    Raises:
        InputError: the batch cannot be dealt out evenly.
    """
    parts = distributed.process_count() * accumulate
    if batch % parts:
        raise InputError(
            f"batch = {batch}: cannot be shared by {distributed.process_count()} processes in {accumulate} "
            f"pieces each; choose a multiple of {parts}"
        )
    return batch // parts


def _arguments(schedule: Schedule, work: Path, seed: int) -> TrainingArguments:
    extra: dict[str, Any] = {}
    if schedule.gradient_checkpointing:
        extra |= {
            "activation_checkpointing": True,
            "activation_checkpointing_kwargs": {"use_reentrant": False},
        }
    if distributed.process_count() > 1:
        extra["ddp_find_unused_parameters"] = False
    if distributed.process_count() > 1 or schedule.bfloat16:
        extra["use_cpu"] = distributed.on_cpu()
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=schedule.steps,
        per_device_train_batch_size=microbatch_size(schedule.batch, schedule.accumulate),
        gradient_accumulation_steps=schedule.accumulate,
        learning_rate=schedule.learning_rate,
        warmup_steps=schedule.warmup,
        weight_decay=schedule.weight_decay,
        adam_beta2=schedule.beta2,
        bf16=schedule.bfloat16,
        lr_scheduler_type="cosine",
        seed=seed,
        train_sampling_strategy="sequential",
        save_strategy="no",  # the saving callback decides
        save_total_limit=2,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        **extra,
    )
    # One process that sees several GPUs would otherwise train on all of them, at a multiple of the batch.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def save_model(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, target: Path | None) -> None:
    """Write the model as an ordinary checkpoint or adapter with its tokenizer.

    Every process must call it, for a model may be spread over them; only the one with a ``target`` writes.
    """
    weights = None
    if trainer.is_fsdp_enabled:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if target is not None:
        model = trainer.accelerator.unwrap_model(trainer.model)
        how: dict[str, Any] = {} if weights is None else {"state_dict": weights}
        if hasattr(model, "peft_config"):
            # Left to decide by itself, PEFT asks the hub at every save whether the vocabulary has changed.
            how["save_embedding_layers"] = False
        model.save_pretrained(target, **how)
        tokenizer.save_pretrained(target)


def evaluation_model(trainer: Trainer) -> tuple[Any, bool]:
    """Return the model to ask during training, and whether all processes must ask it the same in step."""
    if trainer.is_fsdp_enabled:
        return _ShardedModel(trainer.model_wrapped), True
    return trainer.model, False


class _ShardedModel:
    """A model whose weights are spread over processes, fit to be asked in inference mode.

    Weights that it gathers there would be inference tensors, which training could not use afterwards.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = next(model.parameters()).device

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, **inputs: Any) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            copies = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in inputs.items()}
            return self.model(**copies)


def _resumable(work: Path) -> str | None:
    """Find the newest complete state in ``work``, deleting any that is half-written or damaged."""
    states = sorted(work.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]), reverse=True)
    for state in states:
        held = sealed_state(state)
        if held == "whole":
            return str(state)
        if held == "damaged":
            notice(f"{state}: is not as it was written; training continues from an earlier state")
        shutil.rmtree(state)
    return None
