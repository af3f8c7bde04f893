"""How long loading a pair takes with all checks of its checkpoints, beside transformers' own loading alone.

    python benchmarks/loading.py --base DIR [--finetuned DIR] [--rounds 7]

Both are timed in turns in one process. *First* looks at the files anew, as a command does once; *again* takes
what was found before from memory. CPU time is steadier where others use the machine as well.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tyro
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from finetune.checkpoints import inspection as loadable
from interp import load_pair


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to load, and how often."""

    base: Path
    """Directory of the base."""
    finetuned: Path | None = None
    """Directory of a fine-tuned model, full or adapter (default: none)."""
    rounds: int = 7
    """Loads of each kind; medians count."""


def main(options: Options) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    sources = [str(path) for path in (options.base, options.finetuned) if path is not None]

    def checked() -> None:
        load_pair(*sources).close()

    def anew() -> None:
        loadable._inspect_files.cache_clear()
        loadable._configuration.cache_clear()
        loadable._match_cached.cache_clear()
        checked()

    def unchecked() -> None:
        with (
            patch("finetune.checkpoints.loading.load_weights", _plain_weights),
            patch("finetune.checkpoints.inspection.read_configuration", _plain_config),
            patch("interp.models.sources.notices", lambda *_: []),
        ):
            checked()

    ways: dict[str, Callable[[], None]] = {"unchecked": unchecked, "first": anew, "again": checked}
    walls: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    unchecked(), anew()  # imports and the file cache
    for _ in range(options.rounds):
        for name, load in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            load()
            walls[name].append(time.perf_counter() - wall)
            busy[name].append(time.process_time() - cpu)
    for kind, times in {"wall": walls, "CPU": busy}.items():
        middle = {name: statistics.median(some) for name, some in times.items()}
        for name, seconds in middle.items():
            print(f"{kind:4} {name:10} {seconds:7.3f} s   {seconds / middle['unchecked']:5.3f} of unchecked")


def _plain_weights(source: str, *, dtype: Any, **_: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        source, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
    )


def _plain_config(source: str, **_: Any) -> Any:
    return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)


if __name__ == "__main__":
    main(tyro.cli(Options))
