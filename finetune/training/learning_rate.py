"""The choice of the learning rate on validation facts, the same way for every arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetune.data.prompts import Prompt
from finetune.training.config import TuneConfig
from finetune.training.finished_training import Checkpoint
from finetune.training.train import train


def select(
    base: Path | str,
    prompts: Sequence[Prompt],
    validation: Sequence[Prompt],
    out: Path,
    *,
    config: TuneConfig,
    stages: Sequence[int] | None = None,
    known: Sequence[tuple[Prompt, Prompt]] = (),
    seed: int = 0,
    name: str = "model",
) -> Checkpoint:
    """Fine-tune once per learning rate and return the checkpoint with the best validation accuracy.

    Among equals the smaller learning rate wins. Every candidate stays in ``out``.

    Args:
        base: a directory or hub id.
        prompts: what to train on.
        validation: what decides.
        out: a directory for all candidates.
        config: the settings, with the rates to try.
        stages: see :func:`finetune.training.train.train`, as for the following.
        known: facts to distil.
        seed: of every training.
        name: the model's name beside a progress bar.
    """
    candidates = [
        train(
            base,
            prompts,
            validation,
            out / f"lr-{rate:g}",
            config=config,
            learning_rate=rate,
            stages=stages,
            known=known,
            seed=seed,
            name=name,
        )
        for rate in sorted(config.learning_rates)
    ]
    return max(candidates, key=lambda c: c.validation_accuracy)
