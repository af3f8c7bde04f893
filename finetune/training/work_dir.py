"""The work directory of a training: owned by one run at a time, continued only by one of the same recipe.

Also the places of a cache: made by one process while others wait, and swept of what nobody will continue.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finetune.common import distributed
from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from finetune.common.progress import notice
from finetune.common.temporary_files import sweep

ABANDONED = 7 * 24 * 3600.0  # seconds without a change after which nobody continues what a cache was to get


@contextmanager
def cached_directory(home: Path, *, what: str) -> Iterator[None]:
    """Own a directory of a cache for the block; say so where that means waiting for another process.

    Half-made ones (``*.partial``) that nobody has touched for a week are removed.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    sweep(home.parent)
    _sweep_abandoned(home.parent)
    lock = FileLock(home.with_suffix(".lock"))  # the system frees it with the process, however that ends
    try:
        lock.acquire(timeout=1)
    except Timeout:
        notice(f"{home}: another process is making this {what}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sweep_abandoned(cache: Path) -> None:
    for work in (*cache.glob("*.partial"), *cache.glob("*/*.partial")):
        touched = [p.stat().st_mtime for p in (work, *work.rglob("*")) if p.exists()]
        if time.time() - max(touched, default=0.0) > ABANDONED:
            place = work if work.parent == cache else work.parent
            with contextlib.suppress(Timeout), FileLock(place.with_suffix(".lock"), timeout=0):
                discard(work)


@contextmanager
def locked_work_dir(work: Path, recipe: Mapping[str, Any]) -> Iterator[None]:
    """Own ``work`` for the block, emptied first unless a run of the same ``recipe`` left it.

    A block that a mistake of the user ends leaves no directory behind, unless it holds a state to continue.

    Raises:
        InputError: another run is at work there.
    """
    lock = FileLock(work / "lock")  # the system frees it with the process, however that ends
    if distributed.is_main():
        work.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{work}: another run is training there; wait for it or stop it") from None
        _prepare(work, json.loads(json.dumps(recipe)))
    distributed.wait_for_everyone()
    try:
        yield
    except InputError:
        if distributed.is_main() and not any(work.glob("trainer/checkpoint-*")):
            shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        lock.release()


def discard(work: Path) -> None:
    """Remove a work directory whose training is finished, unless another run is in it."""
    if not work.is_dir():
        return
    try:
        with FileLock(work / "lock", timeout=0):
            shutil.rmtree(work, ignore_errors=True)
    except (Timeout, FileNotFoundError):
        return


def empty(work: Path, *, but: Sequence[str] = ("lock",)) -> None:
    """Remove all that a work directory holds but the files named."""
    for old in work.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name not in but:
            old.unlink()


def _prepare(work: Path, recipe: dict[str, Any]) -> None:
    sweep(work, below=True, again=True)
    held = _recorded_recipe(work / "recipe.json")
    if held == recipe:
        return
    if held is not None:
        warnings.warn(
            f"{work}: an unfinished training of other settings ({recipe_difference(held, recipe)}) is begun "
            "anew",
            stacklevel=4,
        )
    empty(work)
    write_json(work / "recipe.json", recipe)


def _recorded_recipe(path: Path) -> dict[str, Any] | None:
    try:
        held = read_json(path)
    except (OSError, ValueError):
        return None
    return held if isinstance(held, dict) else None


def recipe_difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in which settings two recipes differ, settings of ``config`` by their own names."""
    left, right = ({**recipe, **recipe.get("config", {})} for recipe in (held, wanted))
    names = [n for n in sorted({*left, *right} - {"config"}) if left.get(n) != right.get(n)]
    hashes = {"base", "prompts", "validation", "stages", "versions"}
    said = [
        f"other {n}" if n in hashes else f"{n} is {left.get(n)} there and {right.get(n)} here" for n in names
    ]
    return "; ".join(said[:3])
