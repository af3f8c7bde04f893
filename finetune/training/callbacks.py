"""Callbacks of a training: states to continue from, a moving progress bar, accuracies on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from finetune.common import distributed
from finetune.common.checksums import seal

FIRST_SAVE = 60.0  # seconds of training that are cheap enough to be done again
SAVING_SHARE = 0.05  # of the time that saving states may take


def saving_callback(save_every: int | None) -> TrainerCallback:
    """Make the hook that asks for a resumable state every so many steps; None: by the clock."""

    class Saving(TrainerCallback):
        """Ask for a resumable state every so many steps, or when there is time for it."""

        due = FIRST_SAVE
        began = 0.0

        def on_train_begin(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            self.began = time.monotonic()

        def on_step_end(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            every, step = save_every, state.global_step
            if step == state.max_steps or every == 0:
                return
            if every is None:
                is_due = time.monotonic() - self.began > self.due
                control.should_save = distributed.broadcast_from_main(is_due)
            else:
                control.should_save = step % every == 0
            self.asked = time.monotonic()

        def on_save(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            distributed.wait_for_everyone()  # for the parts of the state that other processes write
            if distributed.is_main():
                seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.began = time.monotonic()
            self.due = max(FIRST_SAVE, (self.began - self.asked) / SAVING_SHARE)

    return Saving()


def progress_callback(advance: Callable[[int], None]) -> TrainerCallback:
    """Make the hook that tells a progress bar how many steps are done."""

    class Progress(TrainerCallback):
        """Tell a progress bar how many steps are done."""

        def on_train_begin(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            advance(state.global_step)

        on_step_end = on_train_begin

    return Progress()


def accuracy_callback(
    measure: Callable[[], dict[str, float]], *, every: int, is_done: Callable[[dict[str, float]], bool]
) -> Any:
    """Make the hook that collects accuracies in its ``curve`` and stops training when it is done."""

    class AccuracyCallback(TrainerCallback):
        """Measure accuracy during training."""

        curve: list[dict[str, Any]] = []  # noqa: RUF012  # the class has one instance

        def on_step_end(self, args, state, control, **_):  # type: ignore[no-untyped-def]
            if state.global_step % every == 0 or state.global_step == state.max_steps:
                now = measure()
                self.curve.append({"steps": state.global_step, **now})
                control.should_training_stop |= is_done(now)

    return AccuracyCallback()
