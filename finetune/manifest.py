"""A run directory: what made it, which of its stages are finished, and whether this run may continue it."""

from __future__ import annotations

import json
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

from finetune.facts import InputError, LeftOut
from finetune.files import read_json, write_json

LIBRARIES = (
    "factscope",
    "torch",
    "transformers",
    "peft",
    "transformer-lens",
    "numpy",
    "scipy",
    "circuitsvis",
)
VERSION = 1  # of the manifest's own layout


class RunDirectory:
    """A directory that one configuration owns; a second run with the same one continues it.

    Args:
        path: where the run lives; created on the first write, never before.
        config: every setting that can change a number, JSON-able.
        part: whether it is a part of another run, which may have left files there.

    Raises:
        InputError: ``path`` is a file, holds something else, or holds a run of another configuration.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], *, part: bool = False) -> None:
        self.path = path
        self.part = part
        self.config = json.loads(json.dumps(config))
        self.timings: dict[str, float] = {}
        self._is_new = not path.exists()
        if path.exists():
            self._check_existing()

    def _check_existing(self) -> None:
        if not self.path.is_dir():
            raise InputError(f"--out {self.path}: is a file; name a directory")
        manifest = self.path / "manifest.json"
        if not manifest.is_file():
            if not self.part and any(self.path.iterdir()):
                raise InputError(
                    f"--out {self.path}: holds files that are no run; name a new or an empty directory"
                )
            return
        try:
            held = read_json(manifest)
        except json.JSONDecodeError as error:
            raise InputError(f"{manifest}: is not readable JSON ({error}); remove the directory") from error
        if held.get("version") != VERSION:
            raise InputError(
                f"{manifest}: has layout version {held.get('version')}, this program writes {VERSION}; "
                "name a new directory"
            )
        if _settled(held["config"]) != _settled(self.config):
            raise InputError(
                f"--out {self.path}: holds another run ({_difference(held['config'], self.config)}); "
                "name a new directory or remove this one"
            )
        self.timings = held["timings"]

    @property
    def finished(self) -> bool:
        """Whether the run was completed, report included."""
        manifest = self.path / "manifest.json"
        return manifest.is_file() and bool(read_json(manifest).get("finished"))

    def write(self, *, seeds: Sequence[int], finished: bool = False, **details: Any) -> None:
        """Write manifest.json with the command, configuration, versions, timings and ``details``."""
        left_out: Sequence[LeftOut] = details.pop("left_out", ())
        write_json(
            self.path / "manifest.json",
            {
                "version": VERSION,
                "finished": finished,
                "command": shlex.join(["python", *sys.argv]),
                "config": self.config,
                "seeds": list(seeds),
                "versions": library_versions(*LIBRARIES),
                "git_commit": _git_commit(),
                "timings": self.timings,
                "left_out": [{"where": item.where, "reason": item.reason} for item in left_out],
                **details,
            },
        )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record how many seconds a stage takes; one that was cached keeps the time it first took."""
        start = time.perf_counter()
        yield
        self.timings.setdefault(stage, round(time.perf_counter() - start, 2))

    def discard(self) -> None:
        """Remove the directory again if this process made it and no stage of it was finished."""
        if self._is_new and self.path.is_dir() and not (self.path / "seeds").exists():
            shutil.rmtree(self.path)


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


def _settled(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what is set: an option that an older program did not have says nothing where it is off."""
    return {name: value for name, value in config.items() if value not in (None, False, [], "")}


def _difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    differing = [k for k in sorted({*held, *wanted}) if held.get(k) != wanted.get(k)]
    return "; ".join(f"{k} is {held.get(k)} there and {wanted.get(k)} here" for k in differing[:2])
