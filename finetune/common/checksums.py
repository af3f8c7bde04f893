"""Checksums of files that a later start reads: a damaged one is noticed and made again, never read.

Two forms, for what grows and for what is finished:

- A stage file is recorded by one line of ``checksums.jsonl`` in its directory (name, size, SHA-256), written
  before the file takes its place; the last line that names a file counts.
- A finished directory (a base, a trained checkpoint) is sealed by ``checksums.json`` inside, which lists all
  its other files.

What an older version left has neither. A stage file is then used if it can be read, and a notice says that it
could not be verified; whoever asks for a sealed directory decides (a base of the cache is made again).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from finetune.common.files import SEAL, as_json, atomic_file, files_below, read_json, sync
from finetune.common.progress import notice

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
State = Literal["whole", "damaged", "absent", "unrecorded"]
Entry = dict[str, Any]
RECORD = "checksums.jsonl"
_SMALL = 1 << 20
_hashes: dict[tuple[int, ...], str] = {}


def checksum_entry(path: Path) -> Entry:
    """Return the size and SHA-256 of a file."""
    return {"size": path.stat().st_size, "sha256": sha256(path)}


def sha256(path: Path) -> str:
    """Hash a file; a larger one once a process, as long as its inode, size and time stay the same."""
    held = path.stat()
    key = (held.st_dev, held.st_ino, held.st_size, held.st_mtime_ns)
    # Times are too coarse to tell two writes in a row apart, and a small file costs nothing.
    if key not in _hashes or held.st_size < _SMALL:
        with path.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]


def matches_entry(path: Path, entry: Entry) -> bool:
    """Whether a file is there just as ``entry`` says; files of another size are not read."""
    try:
        return path.is_file() and path.stat().st_size == entry["size"] and sha256(path) == entry["sha256"]
    except (OSError, KeyError, TypeError):
        return False


@contextmanager
def recorded_file(path: Path) -> Iterator[Path]:
    """Write a stage file as :func:`finetune.common.files.atomic_file` does, and record it."""
    with atomic_file(path) as temporary:
        yield temporary
        # The line first: a process that dies in between leaves a file that is not the one recorded.
        _record(path, checksum_entry(temporary))


def recorded_state(path: Path) -> State:
    """Say of a stage file whether it is as it was recorded; a damaged or unverifiable one with a notice."""
    if not path.is_file():
        return "absent"
    entry = read_records(path.parent).get(path.name)
    if entry is None:
        notice(
            f"{path.parent}: an older version left files without checksums here; they are used, but cannot "
            "be verified"
        )
        return "unrecorded"
    if matches_entry(path, entry):
        return "whole"
    notice(f"{path}: is not as it was written; it is made again")
    return "damaged"


def cached_file(path: Path, write: Callable[[Path], Any], read: Callable[[Path], T]) -> T:
    """Read a stage file, which is first written where it is absent or damaged.

    Args:
        path: the file.
        write: makes it at the path that it is given.
        read: reads it; what comes back is the same whether the file was there or not.
    """
    return cached_files([path], write, lambda: read(path))


def cached_files(paths: Sequence[Path], write: Callable[..., Any], read: Callable[[], T]) -> T:
    """Read stage files that are made together, all again where one is absent or damaged.

    Args:
        paths: the files.
        write: makes them, at as many paths as it is given.
        read: reads them from their places.
    """
    if not are_valid(paths, read):
        write_together(paths, write)
    return read()


def are_valid(paths: Sequence[Path], read: Callable[[], Any]) -> bool:
    """Whether stage files are as they were recorded, or unrecorded and such as ``read`` can read."""
    states = [recorded_state(path) for path in paths]
    if not set(states) <= {"whole", "unrecorded"}:
        return False
    if "unrecorded" in states:
        try:
            read()
        except Exception as error:  # a truncated file raises whatever its reader does
            notice(f"{paths[0]}: cannot be read ({type(error).__name__}); it is made again")
            return False
    return True


def write_together(paths: Sequence[Path], write: Callable[..., Any]) -> None:
    """Write stage files that are made together, at as many temporary paths as ``write`` is given."""
    with ExitStack() as stack:
        write(*[stack.enter_context(recorded_file(path)) for path in paths])


def cached_json(path: Path, make: Callable[[], Any]) -> Any:
    """Return a stage's JSON result, computed only if no earlier start finished it."""
    return cached_file(path, lambda to: to.write_text(as_json(make()), encoding="utf-8"), read_json)


def cached_frame(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return a stage's table, computed only if no earlier start finished it."""
    import pandas as pd

    return cached_file(path, lambda to: make().to_parquet(to), pd.read_parquet)


def write_recorded_json(path: Path, value: Any) -> None:
    """Write JSON as a stage file."""
    with recorded_file(path) as temporary:
        temporary.write_text(as_json(value), encoding="utf-8")


def read_records(directory: Path) -> dict[str, Entry]:
    """Read what a directory records of its stage files; a line that a kill cut off says nothing."""
    entries: dict[str, Entry] = {}
    with contextlib.suppress(OSError):
        for line in (directory / RECORD).read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                held = json.loads(line)
                entries[held.pop("file")] = held
    return entries


def _record(path: Path, entry: Entry) -> None:
    if read_records(path.parent).get(path.name) == entry:
        return
    journal = path.parent / RECORD
    # In front of the line an end of line, should a kill have cut the last one off; one write is not torn.
    line = "\n" + json.dumps({"file": path.name, **entry}) + "\n"
    handle = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum_entries(path: Path) -> dict[str, Entry]:
    """Return the entry of a file, by its own name, or those of all files below a directory."""
    if path.is_file():
        return {"": checksum_entry(path)}
    return {str(file.relative_to(path)): checksum_entry(file) for file in files_below(path)}


def seal(directory: Path) -> None:
    """List the size and SHA-256 of every file of a finished directory in its ``checksums.json``."""
    listed = checksum_entries(directory)
    (directory / SEAL).write_text(as_json({"files": listed}), encoding="utf-8")
    sync(directory, below=True)


def sealed_state(directory: Path, *, strict: bool = False) -> State:
    """Say whether a directory still is as it was sealed.

    ``strict``: a file that is not listed is damage, too. Otherwise only listed files are looked at.
    """
    if not directory.is_dir():
        return "absent"
    if not (directory / SEAL).is_file():
        return "unrecorded"
    try:
        listed = read_json(directory / SEAL)["files"]
        whole = all(matches_entry(directory / name, entry) for name, entry in listed.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "damaged"
    if strict and {str(p.relative_to(directory)) for p in files_below(directory)} != set(listed):
        return "damaged"
    return "whole" if whole else "damaged"
