"""A finished training on disk: what is recorded of it, whether it is whole, and how it gets to its place."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.common.checksums import seal, sealed_state
from finetune.common.errors import InputError
from finetune.common.files import read_json, replace_directory
from finetune.common.progress import notice
from finetune.common.short_repr import ShortRepr
from finetune.training.work_dir import recipe_difference

DONE = "done.json"  # in a work directory: training is over, and what was kept is on its way to its place
_DIGESTED = frozenset(("digests", "prompts", "validation", "known"))


@dataclass(frozen=True, kw_only=True)
class Checkpoint(ShortRepr):
    """A kept checkpoint: where it is, and what chose it.

    ``training_loss`` is in nats an answer, on a sample of the training facts, and ``training_accuracy`` the
    share of them that is answered exactly; with ``keep="loss"`` the loss may lie above the wanted one, where
    no step reached it.
    """

    path: Path
    learning_rate: float
    step: int
    validation_accuracy: float
    training_loss: float
    training_accuracy: float = float("nan")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what ``train`` recorded beside a checkpoint; NaN stands for what was not measured there."""
    record = read_json(path / "training.json")
    return Checkpoint(
        path=path,
        learning_rate=record["learning_rate"],
        step=record["step"],
        validation_accuracy=record.get("validation_accuracy", float("nan")),
        training_loss=record.get("training_loss", float("nan")),
        training_accuracy=record.get("training_accuracy", float("nan")),
    )


def is_done(work: Path) -> bool:
    """Whether a run was killed while it put a finished training in place."""
    return (work / DONE).is_file() and (work / read_json(work / DONE)["kept"]).is_dir()


def move_into_place(work: Path, out: Path) -> None:
    """Move what was kept to its place; every step can be done again after a kill."""
    kept = work / read_json(work / DONE)["kept"]
    for along in sorted(work.glob("checkpoint-*")):
        along.replace(kept / along.name)
    seal(kept)
    replace_directory(kept, out)
    shutil.rmtree(work)


def finished_training(out: Path, recipe: dict[str, Any]) -> Checkpoint | None:
    """Return a finished training, or None where there is none or it is damaged.

    One that an older version recorded names no recipe to compare, and has no checksums.
    """
    state, training = sealed_state(out), out / "training.json"
    if state == "absent" or not any(out.iterdir()):
        return None
    if state == "unrecorded" and not training.is_file():
        raise InputError(f"{out}: holds files that are no training; name a new or an empty directory")
    try:
        checkpoint, held = read_checkpoint(out), read_json(training).get("recipe", recipe)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        state = "damaged"
    else:
        if "digests" in recipe and "digests" not in held and not _differs_by_more(held, recipe):
            notice(f"{out}: an older version recorded only a part of what prompts say; it is trained again")
            return None
        if held != recipe:
            raise InputError(
                f"{out}: holds another training ({recipe_difference(held, recipe)}); name a new directory or "
                "remove it"
            )
    if state == "damaged":
        notice(f"{out}: is not as it was written; it is trained again")
        return None
    if state == "unrecorded":
        notice(f"{out}: an older version wrote no checksums; it is used, but cannot be verified")
    return checkpoint


def _differs_by_more(held: dict[str, Any], recipe: dict[str, Any]) -> bool:
    """Whether recipes differ in more than their digests of prompts."""
    names = {*held, *recipe} - _DIGESTED
    return any(held.get(name) != recipe.get(name) for name in names)
