"""The best checkpoint of a training: measured every few steps, on disk from the step that is wanted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from finetune.common import distributed
from finetune.common.checksums import seal, sealed_state
from finetune.common.files import atomic_directory, write_json
from finetune.data.prompts import Prompt
from finetune.evaluation.generate import score
from finetune.training.config import TuneConfig
from finetune.training.trainer import evaluation_model, save_model

_MEASURED = ("step", "accuracy", "log_prob", "loss", "training_accuracy")


class LostModelError(Exception):
    """A state to continue from refers to a model that is gone or damaged."""


@dataclass(kw_only=True)
class BestCheckpointCallback:
    """Keeps one model below ``work``, the one that the configuration asks for (the first of equals).

    ``probe`` are training facts on which the loss and accuracy are measured; ``details`` go into each record.
    ``curve`` holds every measurement, ``best`` the one that chose the kept model, ``stopped`` whether
    training was ended there. These three are saved with the trainer's state and come back with it.
    """

    tokenizer: PreTrainedTokenizerBase
    validation: Sequence[Prompt]
    probe: Sequence[Prompt]
    work: Path
    config: TuneConfig
    details: dict[str, Any]
    curve: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False
    needed: int | None = None  # the kept step that the newest saved state refers to

    @property
    def path(self) -> Path:
        """Where the kept model is."""
        return self._place(self.best["step"])

    def record(self) -> dict[str, Any]:
        """Return what chose the kept model."""
        return {**self.details, **_chosen_by(self.best), "curve": self.curve}

    def step(self, trainer: Trainer, step: int, *, last: bool) -> bool:
        """Do what is due after a step, and say whether training may stop."""
        if self.stopped:
            return True
        now = None
        if last or step % self.config.check_every == 0:
            now = self._check(trainer, step, last=last)
        if self.config.trajectory and step % self.config.trajectory == 0:
            measured = {"step": step} if now is None else _chosen_by(now)
            with _writing_model(self.work / f"checkpoint-{step}") as target:
                save_model(trainer, self.tokenizer, target)
                if target is not None:
                    write_json(target / "training.json", {**self.details, **measured})
        return self.stopped

    def _check(self, trainer: Trainer, step: int, *, last: bool) -> dict[str, Any]:
        """Measure the model and keep it if it is wanted."""
        model, lockstep = evaluation_model(trainer)

        def measure(prompts: Sequence[Prompt]) -> tuple[Any, Any]:
            return score(model, self.tokenizer, prompts)

        log_prob, exact = distributed.measure_in_shares(measure, self.validation, lockstep=lockstep)
        fitted, learned = distributed.measure_in_shares(measure, self.probe, lockstep=lockstep)
        loss = -float(fitted.mean())
        trainer.model.train()  # type: ignore[union-attr]
        measured = (step, float(exact.mean()), float(log_prob.mean()), loss, float(learned.mean()))
        now: dict[str, Any] = dict(zip(_MEASURED, measured, strict=True))
        self.curve.append(now)
        self.stopped = self.config.keep == "loss" and loss <= self.config.until_loss
        better = now["accuracy"] > self.best.get("accuracy", -1.0)
        if better if self.config.keep == "best" else last or self.stopped:
            self.best = now
            with _writing_model(self._place(step)) as target:
                save_model(trainer, self.tokenizer, target)
            self._remove_stale_models()
        return now

    def _place(self, step: int | None) -> Path:
        return self.work / f"kept-{step}"

    def require_models(self, step: int) -> None:
        """Refuse to continue from a state whose models are not all there as they were written.

        Raises:
            LostModelError: names the first one that is not.
        """
        every = self.config.trajectory
        along = range(every, step + 1, every) if every else ()
        kept = [self.path] if self.best else []
        for place in (*kept, *(self.work / f"checkpoint-{n}" for n in along)):
            if sealed_state(place) != "whole":
                raise LostModelError(f"{place}: is not as it was written")

    def _remove_stale_models(self) -> None:
        """Remove models that neither this run nor its newest saved state refers to."""
        wanted = {self._place(step) for step in (self.best.get("step"), self.needed)}
        for old in self.work.glob("kept-*") if distributed.is_main() else ():
            if old not in wanted:
                shutil.rmtree(old)

    def callback(self) -> TrainerCallback:
        """Return the trainer's hook; it must be told of its trainer before training begins."""
        owner = self

        class Keeping(TrainerCallback, ExportableState):
            """Measure and keep the model during training."""

            def set_trainer(self, trainer: Trainer) -> None:
                self.trainer = trainer

            def state(self) -> dict[str, Any]:
                held = {"curve": owner.curve, "kept": owner.best, "stopped": owner.stopped}
                return {"args": {}, "attributes": held}

            def on_train_begin(self, args, state, control, **_):  # type: ignore[no-untyped-def]
                # A state that training continues from brings what was measured up to it.
                held = state.stateful_callbacks["Keeping"]["attributes"]
                owner.curve = [_in_order(measured) for measured in held["curve"]]
                owner.best, owner.stopped = _in_order(held["kept"]), held["stopped"]
                owner.needed = owner.best.get("step")
                owner.require_models(state.global_step)

            def on_step_end(self, args, state, control, **_):  # type: ignore[no-untyped-def]
                last = state.global_step == state.max_steps
                control.should_training_stop |= owner.step(self.trainer, state.global_step, last=last)

            def on_save(self, args, state, control, **_):  # type: ignore[no-untyped-def]
                owner.needed = owner.best.get("step")
                owner._remove_stale_models()

        return Keeping()


def _in_order(measured: dict[str, Any]) -> dict[str, Any]:
    """Put a measurement's names back in order, for the trainer sorts them, and files should be the same."""
    return {name: measured[name] for name in _MEASURED if name in measured}


def _chosen_by(measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "step": measured["step"],
        "validation_accuracy": measured["accuracy"],
        "training_loss": measured["loss"],
        "training_accuracy": measured["training_accuracy"],
    }


@contextmanager
def _writing_model(place: Path) -> Iterator[Path | None]:
    """Yield a directory that becomes ``place``, to the main process; None to the others."""
    if distributed.is_main():
        with atomic_directory(place) as target:
            yield target
            seal(target)
    else:
        yield None
