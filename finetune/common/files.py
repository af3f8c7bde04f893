"""Atomic file writes that survive a kill and a power cut: written beside the target, synced, then renamed.

A file or directory is the old one or the new one, never a part of either and never absent in between. What a
killed process left half-written is removed by the next one that writes there
(:mod:`finetune.common.temporary_files`).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.common.temporary_files import is_temporary, sweep, temporary_path

if TYPE_CHECKING:
    import pandas as pd

SEAL = "checksums.json"  # what a finished directory says of its own files, see finetune.common.checksums
_WHOLE, _END = 64 << 20, 1 << 20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux' renameat2


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = temporary_path(path)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory that becomes ``path`` if the block succeeds.

    An existing ``path`` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_directory(new: Path, path: Path) -> None:
    """Let a directory take the place of ``path``, which is there at every moment if it was there before."""
    sync(new, below=True)
    if not path.is_dir():
        new.replace(path)
        sync(path.parent)
        return
    if not _exchange(new, path):
        old = temporary_path(path, kind="old")
        path.replace(old)  # a process that dies here leaves the old to be put back by the next sweep
        new.replace(path)
        new = old
    sync(path.parent)
    shutil.rmtree(new, ignore_errors=True)


def sync(path: Path, *, below: bool = False) -> None:
    """Make a file, or a directory's list of names, outlast a power cut; ``below`` all that it holds, too."""
    if below:
        for child in path.iterdir():
            sync(child, below=child.is_dir())
    if not path.exists():  # a writer may have chosen to write nothing
        return
    is_directory = path.is_dir()
    # Some systems open or sync no directory; there a rename is as lasting as it gets.
    with contextlib.suppress(*([OSError] if is_directory else [])):
        handle = os.open(path, os.O_RDONLY if is_directory or os.name != "nt" else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step where the system can; say whether it did."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return bool(done == 0)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically; NaN is refused, for it is not JSON."""
    with atomic_file(path) as temporary:
        temporary.write_text(as_json(value), encoding="utf-8")


def write_frame(path: Path, frame: pd.DataFrame, **options: Any) -> None:
    """Write a table as Parquet, atomically; ``options`` are those of ``to_parquet``."""
    with atomic_file(path) as temporary:
        frame.to_parquet(temporary, **options)


def as_json(value: Any) -> str:
    """Lay ``value`` out as readable JSON; NaN is refused, for it is not JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def content_hash(path: Path) -> str:
    """Hash a file, or the names and contents of all files below a directory (SHA-256).

    Of files above 64 MiB only the size and both ends are read, so that a 7B checkpoint costs nothing. What a
    directory says of its own files (``checksums.json``) does not count.
    """
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else files_below(path):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path.parent)}:{size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_WHOLE if size <= _WHOLE else _END))
            if size > _WHOLE:
                stream.seek(-_END, os.SEEK_END)
                digest.update(stream.read())
    return digest.hexdigest()


def files_below(directory: Path) -> list[Path]:
    """List a directory's files in order, without those that are being written and what it says of itself."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and path.name != SEAL and not is_temporary(path.name)
    )
