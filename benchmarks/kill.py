"""Kill runs at random moments and compare what they come to with runs that nobody disturbed.

    python benchmarks/kill.py --kills 50                       # all four commands, a quarter of an hour
    python benchmarks/kill.py --kills 5 --commands finetune

For each command: run it once undisturbed, in a directory and a cache of its own. Then start it in new ones,
kill -9 it after a random part of the time that the undisturbed run took, start it again, and so on; a run
that ends is compared with the undisturbed one and the next begins anew. Compared are the names of all files,
and the contents of all but those that hold times and paths. A kill counts as passed if the run that it hit
ended with the same files. Processes are forked from one that has imported everything, so that kills fall into
the work and not into imports.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kill_commands import COMMANDS, write_inputs

# What says when and where a run was made, and is another each time.
TIMED = {"manifest.json", "report.html", "study.json", "budget.json", "checksums.jsonl", "trainer_state.json"}


@dataclass(kw_only=True)
class Tally:
    """What became of the kills of one command."""

    kills: int = 0
    runs: int = 0
    identical: int = 0
    differing: list[str] = field(default_factory=list)
    by_phase: list[float] = field(default_factory=list)


def measure(name: str, kills: int, home: Path, *, seed: int = 0) -> Tally:
    """Kill a command ``kills`` times, and compare every run that ends with an undisturbed one.

    Args:
        name: one of COMMANDS.
        kills: how many.
        home: an empty directory.
        seed: decides the moments.
    """
    command, rng, tally = COMMANDS[name], random.Random(seed), Tally()
    write_inputs(home)
    started = time.monotonic()
    _run(command, home / "whole", None)
    took = time.monotonic() - started
    wanted, hit = _contents(home / "whole"), 0
    disturbed = home / "killed"
    while tally.kills < kills or hit:
        last = tally.kills >= kills
        moment = None if last else rng.uniform(0, took)
        if not _run(command, disturbed, moment):
            tally.kills, hit = tally.kills + 1, hit + 1
            continue
        tally.runs += 1
        if apart := _differing(wanted, _contents(disturbed)):
            tally.differing.append(f"after {hit} kills: {', '.join(apart[:5])}")
        else:
            tally.identical += hit
        shutil.rmtree(disturbed)
        hit = 0
    return tally


def _run(command: Callable[[Path], None], home: Path, moment: float | None) -> bool:
    """Run a command in a process of its own, killed after a time; say whether it ended by itself."""
    home.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Path(os.devnull).open("w") as sink:
                os.dup2(sink.fileno(), 1)
            command(home)
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    until = time.monotonic() + (moment if moment is not None else 3600)
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise RuntimeError(f"{command.__name__} failed after a kill, in {home}; see above")
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return status == 0


def _contents(home: Path) -> dict[str, str]:
    """Name every file and directory below a place, with a hash of what must not differ."""
    found: dict[str, str] = {}
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if path.is_dir():
            found[name] = "directory"
        elif path.name in TIMED or path.suffix == ".lock":
            found[name] = "there"
        else:
            text = path.read_bytes()
            if path.suffix == ".safetensors":
                text = _in_order(text)
            if path.suffix == ".json":
                text = text.replace(str(home).encode(), b"").replace(str(home.resolve()).encode(), b"")
            found[name] = hashlib.sha256(_timeless(path, text)).hexdigest()
    return found


def _in_order(text: bytes) -> bytes:
    """Put the header of a safetensors file in order, which lists its metadata in any."""
    size = int.from_bytes(text[:8], "little")
    return json.dumps(json.loads(text[8 : 8 + size]), sort_keys=True).encode() + text[8 + size :]


def _timeless(path: Path, text: bytes) -> bytes:
    """Leave out what checksums and configurations say of files that hold times and paths."""
    if path.name == "checksums.json":
        listed = json.loads(text)["files"]
        kept = {k: v for k, v in listed.items() if Path(k).name not in TIMED}
        return json.dumps(kept, sort_keys=True).encode()
    return text


def _differing(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    return [
        f"{name} is {'left over' if name not in wanted else 'missing' if name not in found else 'another'}"
        for name in sorted({*wanted, *found})
        if wanted.get(name) != found.get(name)
    ]


def results(kills: int, commands: Sequence[str], seed: int) -> Iterator[tuple[str, Tally, float]]:
    """Yield each command's tally and how many seconds it took."""
    for name in commands:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="kill-") as home:
            yield name, measure(name, kills, Path(home), seed=seed), time.monotonic() - started


def load_everything() -> None:
    """Import what commands use, so that no kill falls into an import."""
    import peft  # noqa: F401
    import scipy.stats  # noqa: F401
    from transformers import Trainer  # noqa: F401

    from finetune.common.progress import prepare_process

    prepare_process(quiet=True)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Kill runs at random moments and compare what they come to with runs that nobody disturbed."""

    kills: int = 50
    """How many kills of each command."""
    commands: tuple[Literal["attention_imbalance", "mixture_sweep", "which_data", "finetune"], ...] = ()
    """Which commands (default: all)."""
    seed: int = 0
    """Draws the moments."""


def main() -> None:
    options = tyro.cli(Options)
    load_everything()
    print("| command | kills | runs that ended | kills whose run ended identical | seconds |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for name, tally, seconds in results(options.kills, options.commands or tuple(COMMANDS), options.seed):
        numbers = f"{tally.kills} | {tally.runs} | {tally.identical} | {seconds:.0f}"
        print(f"| {name} | {numbers} |", flush=True)
        for line in tally.differing:
            print(f"  {name}: {line}", flush=True)


if __name__ == "__main__":
    main()
