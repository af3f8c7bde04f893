"""The one shell around ``transformers.Trainer``: same rows, same order, resumable, with a progress bar."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.examples import Examples
from finetune.progress import task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimisation settings: AdamW with linear warm-up and cosine decay.

    ``save_every`` steps a resumable state is kept (0: never).
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 20
    weight_decay: float = 0.01
    beta2: float = 0.99
    save_every: int = 0


def fit(
    model: PreTrainedModel,
    examples: Examples,
    schedule: Schedule,
    work: Path,
    *,
    seed: int,
    description: str,
    callbacks: Sequence[TrainerCallback] = (),
) -> float:
    """Train ``model`` in place on ``examples`` in their order and return the mean training loss.

    If ``work`` holds a state that an interrupted run left, training continues from it.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=schedule.steps,
        per_device_train_batch_size=schedule.batch,
        learning_rate=schedule.learning_rate,
        warmup_steps=schedule.warmup,
        weight_decay=schedule.weight_decay,
        adam_beta2=schedule.beta2,
        lr_scheduler_type="cosine",
        seed=seed,
        train_sampling_strategy="sequential",
        save_strategy="steps" if schedule.save_every else "no",
        save_steps=schedule.save_every or 500,
        save_total_limit=2,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    with task(description, total=schedule.steps) as advance:
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=examples,  # type: ignore[arg-type]  # a map-style data set of text indices
            data_collator=examples.collate,
            callbacks=[_progress_callback(advance), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)
        result = trainer.train(resume_from_checkpoint=_resumable(work))
    return float(result.training_loss)


def _resumable(work: Path) -> str | None:
    """Find the newest complete state in ``work``, deleting any that a kill left half-written."""
    states = sorted(work.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]), reverse=True)
    for state in states:
        # Trainer writes trainer_state.json last, so its presence means that the rest is there.
        if (state / "trainer_state.json").is_file() and (state / "trainer_state.json").stat().st_size:
            return str(state)
        shutil.rmtree(state)
    return None


def _progress_callback(advance) -> TrainerCallback:  # type: ignore[no-untyped-def]
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        """Tell a progress bar how many steps are done."""

        def on_train_begin(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            advance(state.global_step)

        def on_step_end(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            advance(state.global_step)

    return Progress()
