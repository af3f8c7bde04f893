"""Fine-tuning on facts, LoRA or full, keeping the checkpoint that answers most validation facts.

1. Own a work directory beside the result; one that a killed run of the same settings left is continued.
2. Load the base, put an adapter on it where LoRA trains, and lay out all rows of the run in their order.
3. Train; measure and keep every few steps; save a state from time to time.
4. Rename what was kept to its place, with ``training.json`` beside it.

Under ``accelerate launch`` or ``torchrun`` every process calls ``train`` with the same arguments; only the
main one writes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune import processes
from finetune.batching import require_embedded
from finetune.curing import cured
from finetune.evaluate import names_of
from finetune.examples import Examples, answer_examples
from finetune.facts import InputError
from finetune.files import fingerprint, read_json, write_json
from finetune.fitting import Schedule, fit, pieces
from finetune.keeping import Keeper
from finetune.manifest import library_versions
from finetune.memory import within_memory
from finetune.prompts import Prompt
from finetune.trainable import trainable
from finetune.tuning import Keep, Method, TuneConfig
from finetune.workplace import claimed, difference

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Checkpoint", "Keep", "Method", "TuneConfig", "read_checkpoint", "train"]

PROBE = 256  # training facts on which the loss is measured


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
    known: Sequence[tuple[Prompt, Prompt]] = (),
    seed: int = 0,
    name: str = "model",
) -> Checkpoint:
    """Fine-tune ``base`` on ``prompts`` at one learning rate; keep one checkpoint, in ``out``.

    ``stages`` gives every prompt its place in the order of training: the lowest come first. ``known`` are
    facts to distil, each as the base is asked it and as the model is (:mod:`finetune.curing`). ``out``
    becomes an ordinary checkpoint (full) or adapter (LoRA) directory with its tokenizer and
    ``training.json``, and with ``checkpoint-N`` inside where a trajectory was asked for. A finished ``out``
    is returned as it is; a killed training is continued, and ends with the same weights.

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
    processes.join()
    recipe = training.recipe()
    if (out / "training.json").is_file():
        return _finished(out, recipe)
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: holds files that are no training; name a new or an empty directory")
    share = pieces(config.batch, 1)
    pieces(config.batch, config.accumulate)
    work = out.with_name(f"{out.name}.partial")
    versions = library_versions("torch", "transformers", "peft", "accelerate")

    def attempt(accumulate: int, halved: int) -> Keeper:
        found = {"micro_batch": share // accumulate, "halved": halved, "recipe": recipe}
        return training.attempt(work, accumulate, found)

    with claimed(work, {**recipe, "processes": processes.count(), "versions": versions}):
        keeper = within_memory(attempt, rows=share, accumulate=config.accumulate, work=work)
        if processes.is_main():
            _put_in_place(keeper, work, out)
    processes.wait()
    return read_checkpoint(out)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what ``train`` recorded beside a checkpoint; NaN stands for what was not measured there."""
    record = read_json(path / "training.json")
    return Checkpoint(
        path=path,
        learning_rate=record["learning_rate"],
        step=record["step"],
        validation_accuracy=record.get("validation_accuracy", float("nan")),
        training_loss=record.get("training_loss", float("nan")),
    )


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

    def recipe(self) -> dict[str, Any]:
        """Return everything that decides the result, JSON-able."""
        return {
            "config": {**self.config.deciding(), "learning_rates": [self.learning_rate]},
            "seed": self.seed,
            "base": _identity(self.base),
            "prompts": _digest(list(self.prompts)),
            "validation": _digest(list(self.validation)),
            "stages": None if self.stages is None else _digest([int(stage) for stage in self.stages]),
            **({"known": _digest(list(self.known))} if self.known else {}),
        }

    def attempt(self, work: Path, accumulate: int, found: dict[str, Any]) -> Keeper:
        """Train once, from the base or from the newest state in ``work``; ``found`` goes into the record."""
        from transformers import set_seed

        config, prompts, seed = self.config, self.prompts, self.seed
        set_seed(seed)
        model, tokenizer = trainable(self.base, config)
        steps = config.steps_for(len(prompts))
        rows = answer_examples(tokenizer, prompts, rows=steps * config.batch, seed=seed, stages=self.stages)
        _require_room(model, tokenizer, rows, prompts)
        dataset, trainer_class = cured(model, tokenizer, rows, prompts, self.known, config, seed=seed)
        keeper = Keeper(
            tokenizer=tokenizer,
            validation=self.validation,
            probe=_sample(prompts, seed),
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


def _put_in_place(keeper: Keeper, work: Path, out: Path) -> None:
    kept = keeper.path
    write_json(kept / "training.json", keeper.record())
    for along in keeper.trajectory:
        along.replace(kept / along.name)
    kept.replace(out)
    shutil.rmtree(work)


def _finished(out: Path, recipe: dict[str, Any]) -> Checkpoint:
    """Return a finished training; one that an older version recorded names no recipe to compare."""
    held = read_json(out / "training.json").get("recipe", recipe)
    if held != recipe:
        raise InputError(
            f"{out}: holds another training ({difference(held, recipe)}); name a new directory or remove it"
        )
    return read_checkpoint(out)


def _sample(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    chosen = np.random.default_rng([seed, 23]).permutation(len(prompts))[:PROBE]
    return [prompts[i] for i in sorted(chosen)]


def _require_room(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Examples, prompts: Sequence[Prompt]
) -> None:
    """Refuse rows that are longer than the model can read, or hold a token that it has no embedding for."""
    # An EOS that was added without resizing has none either.
    require_embedded(model, tokenizer, rows.ids.max(axis=1, keepdims=True).tolist(), names_of(prompts))
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = int(rows.lengths.argmax())
    if room is not None and rows.lengths[longest] > room:
        raise InputError(
            f"prompt {prompts[longest].fact_id or prompts[longest].text[:40]!r}: takes "
            f"{rows.lengths[longest]} tokens with its answer, and the base has room for {room}; shorten it"
        )


def _identity(base: Path | str) -> str:
    """Return a hash of a base's files, wherever the directory stands; a hub id stands for itself."""
    if not Path(base).is_dir():
        return str(base)
    files = sorted(path for path in Path(base).iterdir() if path.is_file())
    return _digest([(path.name, fingerprint(path)) for path in files])


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
