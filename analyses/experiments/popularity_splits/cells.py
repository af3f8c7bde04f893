"""One cell: an arm fine-tuned one way at one learning rate, and what it answers to held-out facts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.evaluate import answer_rows, with_known
from analyses.common.grid_cells import GridCell
from analyses.experiments.popularity_splits.options import WORLD, PopularitySplitsOptions, tune_config
from analyses.experiments.popularity_splits.prepared_files import PreparedFacts, read
from finetune.checkpoints.loading import context_of, load_model, load_tokenizer
from finetune.common.files import write_json
from finetune.common.run_directory import RunDirectory
from finetune.data.prompt_formats import prompts_within_context
from finetune.data.splits import split
from finetune.evaluation.multiple_choice import pick_choices
from finetune.training.finished_training import Checkpoint
from finetune.training.train import train
from interp.stats import TEST_OVER_TRAIN, estimate

BASE = "base"  # the arm that is not trained
CHECKPOINT = "checkpoint"


def cells(options: PopularitySplitsOptions) -> list[GridCell]:
    """List the base and every arm, by data set, model, method, share, learning rate and seed.

    The whole set has no share; seeds vary last, so that a grid that is stopped has whole settings.
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
                for seed in options.seeds
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
    data = read(options, home.parents[1], cell.params["dataset"], cell.params["model"], cell.seed)
    run = RunDirectory(home, {**options.config(), **cell.params, "seed": cell.seed}, part=True)
    details: dict[str, Any] = {"seeds": (cell.seed,)}
    run.write(**details)
    told: dict[str, Any] = {}
    source = data.base
    if cell.params["arm"] != BASE:
        with run.timed("training"):
            checkpoint = _trained(options, cell, data, home)
        source = str(checkpoint.path)
        told = {"validation": checkpoint.validation_accuracy, "step": checkpoint.step}
    with run.timed("asking"):
        frame = ask_held_out(options, data, source).assign(**told)
    if not dict(options.sources)[data.dataset].startswith(WORLD):
        # A world's seeds draw facts anew; those of real facts split the same ones.
        frame[TEST_OVER_TRAIN] = len(data.parts.test) / len(data.parts.train)
    subjects = frame["subject"].to_numpy()
    kinds = [name for name in ("correct", "contains", "choice_correct") if name in frame]
    results = {name: asdict(estimate(frame[name].to_numpy(float), groups=subjects)) for name in kinds}
    write_json(home / "results.json", results)
    run.write(finished=True, **details, checkpoint=source, facts=len(frame), **told)
    return frame


def checkpoint_of(run: Path, cell: GridCell) -> Path:
    """Return where a cell's checkpoint is."""
    return run / "cells" / cell.key / CHECKPOINT


def _trained(options: PopularitySplitsOptions, cell: GridCell, data: PreparedFacts, home: Path) -> Checkpoint:
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
    return train(
        data.base,
        asked,
        data.asked(options, data.parts.validation, tokenizer, examples=data.parts.train),
        home / CHECKPOINT,
        config=tune_config(options, method),
        learning_rate=cell.params["learning_rate"],
        seed=cell.seed,
        name=f"{arm} of {data.dataset}",
    )


def ask_held_out(options: PopularitySplitsOptions, data: PreparedFacts, source: str) -> pd.DataFrame:
    """Ask a model the held-out facts: one row each, with what it said and whether that is right."""
    test = data.parts.test
    model, tokenizer = load_model(source, base=data.base)
    prompts = data.asked(options, test, tokenizer, examples=data.parts.train)
    frame = with_known(answer_rows(model, tokenizer, test, prompts, told=data.dataset), data.known)
    if all(prompt.choices for prompt in prompts):
        frame["choice_correct"] = pick_choices(model, tokenizer, prompts).correct
    return frame
