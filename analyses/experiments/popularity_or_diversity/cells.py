"""Cells of popularity_or_diversity: what is trained, and what each cell measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.grid_cells import GridCell
from analyses.common.held_out import measure_held_out
from analyses.common.options import SHUFFLED
from analyses.common.training_setup import TrainingSetup, fine_tune, make_training_setup, setting_for
from analyses.experiments.popularity_or_diversity.claims import STATES
from analyses.experiments.popularity_or_diversity.crossed_sets import (
    ALL,
    FEW,
    batches,
    commonest,
    draw_set,
    largest_size,
    rotate_relations,
)
from analyses.experiments.popularity_or_diversity.group_gradients import EVERYTHING, compare_gradients
from analyses.experiments.popularity_or_diversity.options import PopularityOrDiversityOptions
from finetune.checkpoints.loading import load_model
from finetune.data.facts import FactSet
from finetune.evaluation.judging import is_right
from interp.measures.gradients import mean_gradient

POOLS = {"popular": "top", "unpopular": "bottom", "random": "whole"}
DEALT = {f"shuffled {name}": SHUFFLED + POOLS[name] for name in ("popular", "unpopular")}
ARMS = "arms"

PAIRS = {
    "popular_unpopular": ("popular1", "unpopular1"),
    "random_popular": ("random1", "popular1"),
    "random_unpopular": ("random1", "unpopular1"),
    "random_random": ("random1", "random2"),
    "popular_popular": ("popular1", "popular2"),
    "unpopular_unpopular": ("unpopular1", "unpopular2"),
}


def cells(options: PopularityOrDiversityOptions) -> list[GridCell]:
    """One cell per fine-tuning set and seed, and two for each seed's gradients."""
    names = (*POOLS, *(DEALT if options.placebo else ()))
    crossed = [(name, count, few) for name in names for count in options.chosen for few in (ALL, FEW)]
    trained = [
        GridCell.of(seed, part=ARMS, popularity=name, relations=count, answers=few)
        for name, count, few in crossed
        for seed in options.seeds
    ]
    return [*trained, *(GridCell.of(seed, part=state) for state in STATES for seed in options.seeds)]


def measure(options: PopularityOrDiversityOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Fine-tune on one set and ask the held-out facts, or take gradients at the base or a taught model."""
    setup = make_training_setup(setting_for(options, None, cell.seed), cache=options.bases, seed=cell.seed)
    part = cell.params["part"]
    if part == ARMS:
        return arm(setup, options, cell, home)
    source = setup.base
    if part == "gradients_taught":
        half = options.arms(setup.parts.train, seed=cell.seed)["random"]
        source = fine_tune(setup, half, home / "arm", name=cell.key).path
    return gradients(setup, source, pools(options, setup.parts.train, cell.seed), options)


def pools(options: PopularityOrDiversityOptions, train: FactSet, seed: int) -> dict[str, FactSet]:
    """Name what sets are drawn from; halves have the same mix of relations, or of answers on demand."""
    match = "relation" if options.match == "none" else options.match
    halves = replace(options, match=match).arms(train, seed=seed)
    return {name: halves[arm] for name, arm in {**POOLS, **DEALT}.items() if arm in halves}


def arm(
    setup: TrainingSetup, options: PopularityOrDiversityOptions, cell: GridCell, home: Path
) -> pd.DataFrame:
    """Fine-tune on one set of the cross; say of each held-out fact whether the set had its relation.

    ``common`` is whether an answer is the one that the set has most often in the fact's relation; missing
    where the set has none of that relation.

    Args:
        setup: the base and its facts.
        options: the experiment's.
        cell: says which set of the cross.
        home: the cell's directory.
    """
    train = setup.parts.train
    pool = pools(options, train, cell.seed)
    relations = rotate_relations(train.relations, cell.params["relations"], seed=cell.seed)
    made = draw_set(
        train,
        pool[cell.params["popularity"]],
        relations,
        cell.params["answers"],
        size=largest_size(train, pool),
        seed=cell.seed,
    )
    trained = fine_tune(setup, made, home / "arm", name=cell.key)
    _, frame = measure_held_out(setup, {"arm": trained.path}, home, batch_tokens=options.batch_tokens)
    mode = {relation: commonest(made, relation, 1) for relation in relations}
    said = zip(frame["relation"], frame["prediction"], strict=True)
    common = [is_right(text, mode[relation]) if relation in mode else None for relation, text in said]
    return frame.assign(
        common=pd.array(common, dtype="boolean"),
        trained=frame["relation"].isin(relations),
        first=frame["relation"] == relations[0],
        size=len(made),
        subjects=len({fact.subject for fact in made}),
        step=trained.step,
        training_loss=trained.training_loss,
    )


def gradients(
    setup: TrainingSetup, source: Path, pool: dict[str, FactSet], options: PopularityOrDiversityOptions
) -> pd.DataFrame:
    """Take a model's gradients on batches of every kind: rows of draw, group, kind, name and value.

    Args:
        setup: the base and its facts.
        source: the model's directory.
        pool: the popular and the unpopular facts.
        options: how many draws, and bound on the tokens of a pass.
    """
    model, tokenizer = load_model(str(source), base=str(setup.base))
    rows: list[dict[str, Any]] = []
    for draw in range(options.draws):
        made = batches(pool["popular"], pool["unpopular"], seed=(setup.seed, draw))
        taken = {
            name: mean_gradient(model, tokenizer, setup.asked(facts), batch_tokens=options.batch_tokens)
            for name, facts in made.items()
        }
        some = compare_gradients({name: gradient for name, (_, gradient) in taken.items()}, PAIRS)
        losses: list[dict[str, str | float]] = [
            {"group": EVERYTHING, "kind": "loss", "name": name, "value": loss}
            for name, (loss, _) in taken.items()
        ]
        rows += [{"draw": draw, "batch": len(made["random1"]), **row} for row in (*some, *losses)]
    return pd.DataFrame(rows)
