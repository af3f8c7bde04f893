"""The experiment planted_truth: its grid, numbers and page put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analyses.experiments.planted_truth.options import PlantedTruthOptions
from analyses.experiments.planted_truth.page import study
from analyses.experiments.planted_truth.stages import measure_seed, summarise
from finetune.common.errors import InputError
from finetune.common.files import atomic_file, read_json, write_json
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.study import headline
from interp.reports.pages.study_page import write_study


def run(options: PlantedTruthOptions) -> Path:
    """Run the analysis, or continue it, and return the run directory.

    Raises:
        InputError: an option is wrong; nothing has been written.
    """

    options.check()
    directory = RunDirectory(options.out, options.config(), analysis="planted_truth")
    if directory.finished:
        return options.out
    about: dict[str, Any] = {"seeds": options.seeds, "setting": f"world {options.world}, planted facts"}
    try:
        directory.write(**about)
        frames = [measure_seed(options, directory, seed) for seed in options.seeds]
    except InputError:
        directory.discard()
        raise
    frame = pd.concat(frames, ignore_index=True)
    results = summarise(frame)
    with atomic_file(directory.path / "facts.parquet") as path:
        frame.to_parquet(path)
    write_json(directory.path / "results.json", results)
    directory.write(**about)
    write_study(directory.path, study(frame, results))
    directory.write(finished=True, **about)
    return options.out


def show(out: Path) -> object:
    """Make what a terminal shows of a run: its headline."""
    return headline(study(pd.read_parquet(out / "facts.parquet"), read_json(out / "results.json")))
