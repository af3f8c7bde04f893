"""The experiment which_data: its steps, numbers and page put together."""

from __future__ import annotations

import os
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

from analyses.common.experiment import Experiment, Loaded, Measured
from analyses.experiments.which_data.advice import next_commands
from analyses.experiments.which_data.numbers import results
from analyses.experiments.which_data.options import WhichDataOptions
from analyses.experiments.which_data.output_rows import write_rows
from analyses.experiments.which_data.page import page
from analyses.experiments.which_data.steps import (
    ChosenFacts,
    ReadyCandidates,
    choose_facts,
    prepare_candidates,
)
from finetune.common.files import read_json
from finetune.common.output_files import require_distinct_outputs, require_own_output
from finetune.common.run_directory import RunDirectory


def load(options: WhichDataOptions) -> Loaded:
    """Load the candidates and set aside what the base cannot be asked."""
    ready = prepare_candidates(options)
    digests = {"facts_digest": ready.candidates.facts.digest}
    if ready.candidates.reference is not None:
        digests["reference_digest"] = ready.candidates.reference.digest
    return Loaded(inputs=ready, config=digests, sources={"base": options.base})


def require_places(options: WhichDataOptions, ready: Any, run: RunDirectory) -> Any:
    """Refuse to write over what this very command has not written, or over one of its inputs.

    Raises:
        InputError: names the option and the remedy.
    """
    outputs = {"--out": options.out, "--dropped": options.dropped}
    inputs = {"--facts": options.facts, "--reference": options.reference, "--base": options.base}
    require_distinct_outputs(
        {**outputs, "--report": options.home}, {**inputs, "--phrasebook": options.phrasebook}
    )
    for option, out in outputs.items():
        if out is not None:
            require_own_output(option, out, run.wrote)
    return ready


def measure(options: WhichDataOptions, ready: ReadyCandidates, run: RunDirectory) -> Measured:
    """Score the candidates, or take the scores of an earlier start, and choose."""
    with run.timed("scoring"):
        made = choose_facts(options, ready, run.path)
    return Measured(found=made, details={"setting": made.setting}, left_out=ready.left_out)


def write_chosen(options: WhichDataOptions, made: ChosenFacts, run: RunDirectory) -> dict[str, Any]:
    """Write the chosen rows, and the others on demand."""
    require_places(options, made, run)  # again: scoring takes a while
    for out, indices in ((options.out, made.kept), (options.dropped, made.others)):
        if out is not None:
            write_rows(made.ready.traced, options.facts, out, indices, made.columns, run.note_output)
    return {"chosen": os.path.relpath(options.out.absolute(), run.path.absolute())}


def following(home: Path) -> tuple[str, ...]:
    """Return the commands that train on what was chosen among, or on what was."""
    manifest, results = read_json(home / "manifest.json"), read_json(home / "results.json")
    # Of one report's outputs in several formats it is the last command's; older runs do not say which.
    written = manifest.get("chosen") or next(iter(manifest["outputs"]), "")
    chosen = os.path.normpath(home / written)  # as it was named, from where the command was given
    every, kept = (results["sides"][side]["subjects"] for side in ("all", "kept"))
    subjects = int(every["value"]), int(kept["value"])
    return next_commands(manifest["config"], every["n"], chosen, results["known"], subjects=subjects)


EXPERIMENT = Experiment(
    name="which_data",
    following=following,
    resolve=methodcaller("resolved"),
    load=load,
    accept=require_places,
    steps=measure,
    summarise=results,
    study=page,
    finish=write_chosen,
    home=attrgetter("home"),
    repeats=True,
)
