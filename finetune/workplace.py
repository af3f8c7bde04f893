"""The work directory of a training: owned by one run at a time, continued only by one of the same recipe."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finetune import processes
from finetune.facts import InputError
from finetune.files import read_json, write_json


@contextmanager
def claimed(work: Path, recipe: Mapping[str, Any]) -> Iterator[None]:
    """Own ``work`` for the block, emptied first unless a run of the same ``recipe`` left it.

    A block that a mistake of the user ends leaves no directory behind, unless it holds a state to continue.

    Raises:
        InputError: another run is at work there.
    """
    lock = FileLock(work / "lock")  # the system frees it with the process, however that ends
    if processes.is_main():
        work.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{work}: another run is training there; wait for it or stop it") from None
        _prepare(work, json.loads(json.dumps(recipe)))
    processes.wait()
    try:
        yield
    except InputError:
        if processes.is_main() and not any(work.glob("trainer/checkpoint-*")):
            shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        lock.release()


def _prepare(work: Path, recipe: dict[str, Any]) -> None:
    held = _held(work / "recipe.json")
    if held == recipe:
        return
    if held is not None:
        warnings.warn(
            f"{work}: an unfinished training of other settings ({difference(held, recipe)}) is begun anew",
            stacklevel=4,
        )
    for old in work.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != "lock":
            old.unlink()
    write_json(work / "recipe.json", recipe)


def _held(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in which settings two recipes differ, settings of ``config`` by their own names."""
    left, right = ({**recipe, **recipe.get("config", {})} for recipe in (held, wanted))
    names = [n for n in sorted({*left, *right} - {"config"}) if left.get(n) != right.get(n)]
    hashes = {"base", "prompts", "validation", "stages", "versions"}
    said = [
        f"other {n}" if n in hashes else f"{n} is {left.get(n)} there and {right.get(n)} here" for n in names
    ]
    return "; ".join(said[:3])
