"""Checksums of what a finished run left, kept in its manifest: a damaged result is noticed, not read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.common.checksums import RECORD, checksum_entry, matches_entry, read_records
from finetune.common.errors import InputError
from finetune.common.files import SEAL, read_json, write_json
from finetune.common.temporary_files import is_temporary

MANIFEST, LOCK = "manifest.json", "lock"


def damaged_files(run: Path, manifest: Mapping[str, Any]) -> list[str]:
    """List the files of a finished run that are gone or not as it wrote them; none where it listed none."""
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        return []
    return [name for name, entry in listed.items() if not matches_entry(run / name, entry)]


def require_undamaged(run: Path, *names: str) -> None:
    """Refuse files of a finished run that are not as it wrote them; a run without checksums passes.

    Raises:
        InputError: names the first of them.
    """
    harmed = damaged_files(run, _manifest(run))
    if wrong := [name for name in harmed if name in names]:
        raise InputError(
            f"{run / wrong[0]}: is not as its run wrote it; the run's command, given again, makes it again"
        )


def record_rewritten(run: Path, paths: Iterable[Path]) -> None:
    """Note that files of a finished run were made again on purpose, such as its page."""
    held = _manifest(run)
    if isinstance(held.get("files"), dict):
        held["files"] |= {str(path.relative_to(run)): checksum_entry(path) for path in paths}
        write_json(run / MANIFEST, held)


def recorded_files(run: Path) -> dict[str, dict[str, Any]]:
    """List what a run left for its readers: not stages, finished directories or runs of their own."""
    entries = {}
    for folder, folders, files in os.walk(run):
        home = Path(folder)
        folders[:] = sorted(n for n in folders if not n.endswith(".partial") and not _speaks(home / n))
        stages = {RECORD, LOCK, MANIFEST, *read_records(home)}
        for name in sorted(files):
            if name not in stages and not name.endswith(".lock") and not is_temporary(name):
                entries[str((home / name).relative_to(run))] = checksum_entry(home / name)
    return entries


def _speaks(folder: Path) -> bool:
    """Whether a directory says itself what it holds: it is sealed, or a run."""
    return (folder / SEAL).is_file() or (folder / MANIFEST).is_file()


def name_files(files: Sequence[str]) -> str:
    """Name the first of some files and count the rest, as the subject of a sentence."""
    rest = f" and {len(files) - 1} more are not" if len(files) > 1 else " is not"
    return f"{files[0]}{rest}"


def _manifest(run: Path) -> dict[str, Any]:
    """Read a manifest, if it is one; whoever needs it says so otherwise."""
    try:
        held = read_json(run / MANIFEST)
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
