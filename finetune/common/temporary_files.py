"""Temporary files beside their target, named after the process that owns them: dead ones are swept.

A name is ``.<target>.<host>-<process>-<started>-<n>.tmp<suffix>``. A process that is killed leaves such a
file or directory behind; the next one that works there removes it, once its owner is surely gone: no process
of that number and start on this host, or, where the owner ran on another host, no change for a day.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import socket
import time
from functools import lru_cache
from pathlib import Path

import psutil

FOREIGN = 24 * 3600.0  # seconds without a change after which another host's temporary file is dead
_LONGEST = 190  # bytes of the target's name that are kept, for a name has 255 at most
_OWNED = re.compile(
    r"\.(?P<stem>.*)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<began>\d+)-\d+\.(?P<kind>tmp|old)(\..*)?"
)
_count = itertools.count()
_swept: set[Path] = set()


def temporary_path(path: Path, *, kind: str = "tmp") -> Path:
    """Return a path in the same directory for what will become ``path``, or for what was it (``old``)."""
    # The suffix is kept last because some writers choose a format by it.
    suffix = path.suffix if kind == "tmp" and len(path.suffix) < 20 else ""
    stem = path.name.removesuffix(suffix) if suffix else path.name
    stem = stem.encode()[:_LONGEST].decode(errors="ignore")
    return path.with_name(f".{stem}.{_owner(os.getpid())}-{next(_count)}.{kind}{suffix}")


def sweep(directory: Path, *, below: bool = False, again: bool = False) -> None:
    """Remove what dead processes left half-written in a directory; with ``below`` in all those beneath.

    A directory is looked at once a process, unless ``again`` is set. Where a process died between putting the
    old aside and the new in its place, the old comes back.
    """
    if not directory.is_dir() or (directory in _swept and not again):
        return
    _swept.add(directory)
    for folder, folders, files in os.walk(directory):
        for name in [*files, *folders]:
            if (owner := _OWNED.fullmatch(name)) and _is_dead(Path(folder) / name, owner):
                _remove(Path(folder) / name, owner)
        folders[:] = [name for name in folders if below and not _OWNED.fullmatch(name)]


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one of ours that is being written."""
    return bool(_OWNED.fullmatch(name))


def _remove(path: Path, owner: re.Match[str]) -> None:
    target = path.with_name(owner["stem"])
    if owner["kind"] == "old" and not target.exists():
        path.rename(target)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_dead(path: Path, owner: re.Match[str]) -> bool:
    if owner["host"] != _host():
        try:
            return time.time() - path.stat().st_mtime > FOREIGN
        except OSError:
            return False
    try:
        # A clock that is set moves the start that the system tells by a second or two.
        return abs(int(psutil.Process(int(owner["pid"])).create_time()) - int(owner["began"])) > 2
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except psutil.Error:
        return False


@lru_cache(maxsize=4)
def _owner(pid: int) -> str:
    return f"{_host()}-{pid}-{int(psutil.Process(pid).create_time())}"


@lru_cache(maxsize=1)
def _host() -> str:
    """Name this host, and the container on it: process numbers mean nothing elsewhere."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()}/{space}".encode()).hexdigest()[:8]
