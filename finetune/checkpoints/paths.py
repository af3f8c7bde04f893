"""Resolving a checkpoint's name or path: a directory, a training run, a GGUF file, or a shipped model.

``python -m finetune --out RUN`` leaves one model for each learning rate and ``chosen.json``, which names the
best. Wherever a checkpoint is taken, ``RUN`` stands for that one, and ``RUN/seeds/0/arms/top`` of an analysis
for the one that it chose of that arm. A GGUF file stands for its dequantised copy in the cache, the name of a
model that ships in a package (:mod:`finetune.checkpoints.shipped_models`) for the fetched one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from finetune.checkpoints.gguf_files import is_gguf
from finetune.checkpoints.shipped_models import gguf_checkpoint, is_shipped, shipped_checkpoint
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.messages import one_line, printable

CHOSEN = "chosen.json"
CONFIGS = ("config.json", "adapter_config.json")

Source = TypeVar("Source", bound=str | Path)


def resolve_checkpoint(source: Source) -> Source:
    """Return the directory that a source stands for; a directory or hub id stands for itself.

    Raises:
        InputError: a run is unfinished, or its ``chosen.json`` names no model in it; an analysis has several
            models; a GGUF file cannot be dequantised; a shipped model was not fetched; no file can bear that
            name.
    """
    if not is_path(source):
        raise InputError(
            f"{printable(source, 80)}: no file can bear this name; name a checkpoint directory or a hub id"
        )
    if is_shipped(source):
        return type(source)(shipped_checkpoint(str(source)))
    if is_gguf(source):
        return type(source)(gguf_checkpoint(expand_home(source)))
    run = Path(source)
    if not run.is_dir() or holds_model(run):
        return source
    if not (run / CHOSEN).is_file():
        if (run / "partition.json").is_file() and (run / "manifest.json").is_file():
            raise InputError(
                f"{source}: this training has chosen no model yet; finish it (the same command continues), "
                "or name the directory of one model"
            )
        if arms := sorted(run.glob("seeds/*/arms/*")):
            raise InputError(f"{source}: has {len(arms)} models; name one of them, such as {arms[0]}")
        return type(source)(_chosen_of_arm(run) or source)
    chosen = run / _name(run / CHOSEN)
    if not holds_model(chosen):
        raise InputError(f"{run / CHOSEN}: names {chosen.name}, which holds no model; train again")
    return type(source)(chosen)


def is_path(name: str | Path) -> bool:
    """Tell whether a name can be looked for at all; one of more than 255 characters cannot."""
    try:
        Path(name).exists()
    except OSError:
        return False
    return True


def expand_home(source: str | Path) -> Path:
    """Return the path that a source is, with ``~`` written out.

    Raises:
        InputError: there is no such user.
    """
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise InputError(f"{source}: {one_line(error)}; write the directory out") from error


def holds_model(path: str | Path) -> bool:
    """Tell whether a directory has the configuration of a model or of an adapter."""
    return any((Path(path) / name).is_file() for name in CONFIGS)


def _chosen_of_arm(arm: Path) -> Path | None:
    """Return the model that an analysis chose of an arm, if this is the directory of one."""
    listed = arm.parent.parent / "checkpoints.json"
    if arm.parent.name != "arms" or not listed.is_file():
        return None
    name = _name(listed, arm.name)
    return arm / name if holds_model(arm / name) else None


def _name(file: Path, key: str = "path") -> str:
    """Read which of the run's directories was chosen; only a name is followed, never a path."""
    try:
        name = read_json(file)[key]
        if key != "path":
            name = Path(name).name  # the run may have been moved since
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: does not say which model was chosen ({error!r}); train again") from None
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
        raise InputError(f"{file}: path = {name!r} is no name of a directory here; train again")
    return name
