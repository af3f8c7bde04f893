"""Fine-tuning on facts, LoRA or full, keeping the checkpoint that answers most validation facts.

1. Own a work directory beside the result; one that a killed run of the same settings left is continued.
2. Load the base, put an adapter on it where LoRA trains, and lay out all rows of the run in their order.
3. Train; measure and keep every few steps; save a state from time to time.
4. Rename what was kept to its place, with ``training.json`` in it and the checksums of all its files.

Under ``accelerate launch`` or ``torchrun`` every process calls ``train`` with the same arguments; only the
main one writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetune.common import distributed
from finetune.common.errors import InputError
from finetune.common.files import SEAL, content_hash, write_json
from finetune.common.progress import notice
from finetune.common.run_directory import library_versions
from finetune.common.seeds import generator, seed_libraries
from finetune.data.prompts import Prompt, digest_prompts, prompt_names
from finetune.evaluation.batching import require_context, require_embedded
from finetune.training.best_checkpoint import BestCheckpointCallback, LostModelError
from finetune.training.config import Keep, Method, TuneConfig
from finetune.training.examples import TokenRows, answer_examples
from finetune.training.finished_training import (
    DONE,
    Checkpoint,
    finished_training,
    is_done,
    move_into_place,
    read_checkpoint,
)
from finetune.training.lora import trainable_model
from finetune.training.memory import retry_smaller_batches
from finetune.training.mitigations import mitigated_trainer
from finetune.training.trainer import Schedule, fit, microbatch_size
from finetune.training.work_dir import discard, empty, locked_work_dir

__all__ = ["Checkpoint", "Keep", "Method", "TuneConfig", "read_checkpoint", "train"]

PROBE = 256  # training facts on which the loss is measured


def train(
    base: Path | str,
    prompts: Sequence[Prompt],
    validation: Sequence[Prompt],
    out: Path,
    *,
    config: TuneConfig | None = None,
    learning_rate: float | None = None,
    stages: Sequence[int] | None = None,
    known: Sequence[tuple[Prompt, Prompt]] = (),
    seed: int = 0,
    name: str = "model",
) -> Checkpoint:
    """Fine-tune ``base`` on ``prompts`` at one learning rate; keep one checkpoint, in ``out``.

    A finished ``out`` is returned as it is, or trained again where its files are not as they were written; a
    killed training is continued, and ends with the same weights.

    Args:
        base: a directory or hub id.
        prompts: what to train on.
        validation: what chooses the checkpoint.
        out: becomes a checkpoint (full) or adapter (LoRA) directory with its tokenizer and ``training.json``,
            and with ``checkpoint-N`` inside where a trajectory was asked for.
        config: the settings.
        learning_rate: the rate; the first of the settings' without it.
        stages: each prompt's place in the order of training: the lowest come first.
        known: facts to distil, each as the base is asked it and as the model is
            (:mod:`finetune.training.mitigations`).
        seed: of weights, order and dropout.
        name: the model's name beside a progress bar.

    Raises:
        InputError: no prompts, a prompt longer than the base takes, a batch that cannot be shared out, an
            ``out`` that holds something else, a cure that this model or these facts do not allow, memory that
            does not suffice, a GPU that failed.
    """
    config = config or TuneConfig()
    training = _Training(
        base=base,
        prompts=prompts,
        validation=validation,
        config=config,
        learning_rate=config.learning_rates[0] if learning_rate is None else learning_rate,
        stages=stages,
        known=known,
        seed=seed,
        name=name,
    )
    return training.into(out)


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What :func:`train` is told, all of it but where the result goes."""

    base: Path | str
    prompts: Sequence[Prompt]
    validation: Sequence[Prompt]
    config: TuneConfig
    learning_rate: float
    stages: Sequence[int] | None
    known: Sequence[tuple[Prompt, Prompt]]
    seed: int
    name: str

    def into(self, out: Path) -> Checkpoint:
        """Train into ``out``, or return what is finished there; a run that was killed continues."""
        if not self.validation:
            raise InputError("validation: no prompts; give some, if only of facts that are trained on")
        recipe, work = self.recipe(), out.with_name(f"{out.name}.partial")
        if (made := finished_training(out, recipe)) is not None:
            if distributed.is_main():  # a run that was killed at the very end leaves it
                discard(work)
            return made
        microbatch_size(self.config.batch, self.config.accumulate)
        versions = library_versions("torch", "transformers", "peft", "accelerate")
        with locked_work_dir(
            work, {**recipe, "processes": distributed.process_count(), "versions": versions}
        ):
            if not distributed.broadcast_from_main(is_done(work)):
                keeper = self.run(work, recipe)
                if distributed.is_main():
                    write_json(keeper.path / "training.json", keeper.record())
                    write_json(work / DONE, {"kept": keeper.path.name})
            if distributed.is_main():
                move_into_place(work, out)
        distributed.wait_for_everyone()
        return read_checkpoint(out)

    def recipe(self) -> dict[str, Any]:
        """Return everything that decides the result, JSON-able."""
        return {
            "config": {**self.config.deciding(), "learning_rates": [self.learning_rate]},
            "seed": self.seed,
            "base": _identity(self.base),
            "digests": "all that prompts say",  # a former version left out what is not shown of them
            "prompts": digest_prompts(self.prompts),
            "validation": digest_prompts(self.validation),
            "stages": None if self.stages is None else _digest([int(stage) for stage in self.stages]),
            **({"known": digest_prompts(chain.from_iterable(self.known))} if self.known else {}),
        }

    def run(self, work: Path, recipe: dict[str, Any]) -> BestCheckpointCallback:
        """Train within the memory that there is; anew where a model is lost that a state refers to."""
        share = microbatch_size(self.config.batch, 1)

        def attempt(accumulate: int, halved: int) -> BestCheckpointCallback:
            found = {"micro_batch": share // accumulate, "halved": halved, "recipe": recipe}
            return self.attempt(work, accumulate, found)

        for last in (False, True):
            try:
                return retry_smaller_batches(
                    attempt, rows=share, accumulate=self.config.accumulate, work=work
                )
            except LostModelError as lost:
                if last:
                    raise
                notice(f"{lost}; the training begins anew")
                distributed.wait_for_everyone()
                if distributed.is_main():
                    empty(work, but=("lock", "recipe.json", "memory.json"))
                distributed.wait_for_everyone()
        raise AssertionError("a second training has no state to lose")

    def attempt(self, work: Path, accumulate: int, found: dict[str, Any]) -> BestCheckpointCallback:
        """Train once, from the base or from the newest state in ``work``; ``found`` goes into the record."""
        config, prompts, seed = self.config, self.prompts, self.seed
        seed_libraries(seed)
        model, tokenizer = trainable_model(self.base, config)
        steps = config.steps_for(len(prompts))
        rows = answer_examples(tokenizer, prompts, rows=steps * config.batch, seed=seed, stages=self.stages)
        _require_room(model, tokenizer, rows, prompts)
        dataset, trainer_class = mitigated_trainer(
            model, tokenizer, rows, prompts, self.known, config, seed=seed
        )
        probe = sorted(generator(seed, "training probe").permutation(len(prompts))[:PROBE])
        keeper = BestCheckpointCallback(
            tokenizer=tokenizer,
            validation=self.validation,
            probe=[prompts[i] for i in probe],
            work=work,
            config=config,
            details={
                "learning_rate": self.learning_rate,
                "config": asdict(config),
                "seed": seed,
                **found,
            },
        )
        schedule = Schedule(
            steps=steps,
            batch=config.batch,
            learning_rate=self.learning_rate,
            warmup=min(10, steps // 5),
            save_every=config.save_every,
            accumulate=accumulate,
            bfloat16=config.dtype == "bfloat16",
            gradient_checkpointing=config.gradient_checkpointing,
        )
        fit(
            model,
            dataset,
            schedule,
            work / "trainer",
            seed=seed,
            description=f"Fine-tuning {self.name}, learning rate {self.learning_rate:g}",
            callbacks=[keeper.callback()],
            trainer_class=trainer_class,
        )
        return keeper


def _require_room(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: TokenRows, prompts: Sequence[Prompt]
) -> None:
    """Refuse rows that are longer than the model can read, or hold a token that it has no embedding for."""
    names = prompt_names(prompts)
    # An EOS that was added without resizing has no embedding either.
    require_embedded(model, tokenizer, rows.ids.max(axis=1, keepdims=True).tolist(), names)
    require_context(model, rows.lengths.tolist(), names)


def _identity(base: Path | str) -> str:
    """Return a hash of a base's files, wherever the directory stands; a hub id stands for itself."""
    if not Path(base).is_dir():
        return str(base)
    files = sorted(path for path in Path(base).iterdir() if path.is_file() and path.name != SEAL)
    return _digest([(path.name, content_hash(path)) for path in files])


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
