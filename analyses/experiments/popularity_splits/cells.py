"""One cell: an arm fine-tuned one way at one learning rate, and what it answers to held-out facts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.grid_cells import GridCell, facts_of
from analyses.experiments.popularity_splits.archive import export_cell
from analyses.experiments.popularity_splits.held_out_knowledge import with_base_knowledge
from analyses.experiments.popularity_splits.held_out_measures import layer_means, measure_checkpoint
from analyses.experiments.popularity_splits.options import WORLD, PopularitySplitsOptions
from analyses.experiments.popularity_splits.prepared_files import PreparedFacts, home_of, read
from analyses.experiments.popularity_splits.tuning import tune_config
from finetune.checkpoints.loading import context_of, load_tokenizer
from finetune.common.files import read_json, write_json
from finetune.common.run_directory import RunDirectory
from finetune.data.prompt_formats import prompts_within_context
from finetune.data.splits import split
from finetune.training.finished_training import Checkpoint, read_checkpoint
from finetune.training.train import train
from interp.stats import TEST_OVER_TRAIN, estimate

BASE = "base"  # the arm that is not trained
CHECKPOINT, MEASURES = "checkpoint", "measures"  # below a cell
LAST = "last"  # the checkpoint after all steps, asked beside the kept one


def cells(options: PopularitySplitsOptions) -> list[GridCell]:
    """List the base and every arm, by data set, model, seed, method, learning rate and share.

    The whole set has no share; arms vary last, so that a grid that is stopped has whole seeds to compare.
    """
    made = []
    for dataset, _ in options.sources:
        for model, _ in options.models:
            for seed in options.seeds:
                made.append(_cell(seed, dataset, model, BASE, BASE, 1.0, 0.0))
                made += [
                    _cell(seed, dataset, model, method, arm, fraction, rate)
                    for method in options.ways
                    for rate in tune_config(options, method).learning_rates
                    for fraction in options.parts
                    for arm in options.arms
                    if arm != "whole" or fraction == options.parts[0]
                ]
    return made


def _cell(
    seed: int, dataset: str, model: str, method: str, arm: str, fraction: float, rate: float
) -> GridCell:
    share = 1.0 if arm == "whole" else fraction
    return GridCell.of(
        seed,
        dataset=dataset,
        model=model,
        method=method,
        arm=arm,
        fraction=share,
        learning_rate=rate,
    )


def measure(options: PopularitySplitsOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Fine-tune one arm, if it is one, and ask the held-out facts; the directory is a run's own."""
    started = time.process_time()
    data = _data(options, cell, home.parents[1])
    run = RunDirectory(home, {**options.config(), **cell.params, "seed": cell.seed}, part=True)
    details: dict[str, Any] = {"seeds": (cell.seed,)}
    run.write(**details)
    trained: dict[str, Checkpoint] = {}
    if cell.params["arm"] != BASE:
        with run.timed("training"):
            trained = _trained(options, cell, data, home)
    with run.timed("asking"):
        frame = _ask_checkpoints(options, data, trained, home)
    own = as_trained(frame)
    kinds = [name for name in ("correct", "contains", "choice_correct") if name in own]
    subjects = own["subject"].to_numpy()
    results = {name: asdict(estimate(own[name].to_numpy(float), groups=subjects)) for name in kinds}
    write_json(home / "results.json", results)
    told: dict[str, Any] = {"checkpoint": data.base}
    for best in list(trained.values())[:1]:
        told = {
            "checkpoint": str(best.path),
            "validation": best.validation_accuracy,
            "step": best.step,
        }
    run.write(finished=True, **details, facts=len(own), **told)
    places = _places(trained) or {BASE: BASE}
    layers = {name: layer_means(home / MEASURES / place) for name, place in places.items()}
    seconds = round(time.process_time() - started, 1)
    record = {"curve": _curve(home), "layers": layers, "timings": run.timings, "cpu_seconds": seconds}
    export_cell(options, cell, frame, record, home.parents[1])
    return frame


def checkpoint_of(run: Path, cell: GridCell) -> Path:
    """Return where a cell's checkpoint is."""
    return run / "cells" / cell.key / CHECKPOINT


def as_trained(frame: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of the kept checkpoints, asked as they were trained; not those asked beside these."""
    return frame[~frame["beside"]] if "beside" in frame else frame


def _data(options: PopularitySplitsOptions, cell: GridCell, run: Path) -> PreparedFacts:
    names = cell.params["dataset"], cell.params["model"]
    base = _cell(cell.seed, *names, BASE, BASE, 1.0, 0.0)
    data = read(options, run, *names, cell.seed)
    return with_base_knowledge(options, data, home_of(run, *names, cell.seed), facts_of(run, base))


def _trained(
    options: PopularitySplitsOptions, cell: GridCell, data: PreparedFacts, home: Path
) -> dict[str, Checkpoint]:
    """Train an arm and return the checkpoints to ask, the kept one first, by what they are."""
    arm, method = cell.params["arm"], cell.params["method"]
    facts = split(
        data.parts.train,
        arm,
        fraction=cell.params["fraction"],
        seed=cell.seed,
        match=options.match,
    )
    write_json(home / "train_ids.json", [fact.id for fact in facts])
    tokenizer = load_tokenizer(data.base)
    # Solved examples come from the arm itself, so that it sees no fact of another one; they may be longer.
    asked = data.asked(options, facts, tokenizer, examples=facts)
    asked, left_out = prompts_within_context(tokenizer, asked, context_of(data.base))
    write_json(home / "left_out.json", [asdict(item) for item in left_out])
    config = tune_config(options, method)
    steps = config.steps_for(len(asked))
    kept = train(
        data.base,
        asked,
        data.asked(options, data.parts.validation, tokenizer, examples=data.parts.train),
        home / CHECKPOINT,
        config=replace(config, trajectory=steps) if options.last else config,
        learning_rate=cell.params["learning_rate"],
        seed=cell.seed,
        name=f"{arm} of {data.dataset}",
    )
    last = {LAST: read_checkpoint(kept.path / f"checkpoint-{steps}")} if options.last else {}
    return {options.keep: kept, **last}


def _ask_checkpoints(
    options: PopularitySplitsOptions, data: PreparedFacts, trained: Mapping[str, Checkpoint], home: Path
) -> pd.DataFrame:
    """Ask the base, or each checkpoint of an arm, the held-out facts: a row a fact, checkpoint and prompt."""
    if not trained:
        frame = measure_checkpoint(options, data, data.base, home / MEASURES / BASE).assign(checkpoint=BASE)
        if data.knowledge is not None:
            frame = frame.merge(data.knowledge.drop(columns="known"), on="fact_id", how="left")
    else:
        frames, places = [], _places(trained)
        for name, checkpoint in trained.items():
            found = measure_checkpoint(options, data, str(checkpoint.path), home / MEASURES / places[name])
            told = {"step": checkpoint.step, "training_accuracy": checkpoint.training_accuracy}
            frames.append(found.assign(checkpoint=name, **told))
            frames[-1]["beside"] |= name != options.keep
        kept = next(iter(trained.values()))
        frame = pd.concat(frames, ignore_index=True).assign(validation=kept.validation_accuracy)
    if not dict(options.sources)[data.dataset].startswith(WORLD):
        # A world's seeds draw facts anew; those of real facts split the same ones.
        frame[TEST_OVER_TRAIN] = len(data.parts.test) / len(data.parts.train)
    return frame


def _places(trained: Mapping[str, Checkpoint]) -> dict[str, str]:
    """Say under which name each checkpoint is measured: where the last step was the best, both are one."""
    return {
        name: next(n for n, other in trained.items() if other.step == one.step)
        for name, one in trained.items()
    }


def _curve(home: Path) -> list[dict[str, Any]]:
    """Return what was measured along a cell's training, step by step."""
    record = home / CHECKPOINT / "training.json"
    return list(read_json(record)["curve"]) if record.is_file() else []
