"""Cells of planted_truth: a base damaged in a known way, diagnosed, and taught other facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analyses.common.grid_cells import GridCell
from analyses.common.lessons import LessonPlan, after_lessons
from analyses.experiments.planted_truth.damage import Damage, damaged_model, healthy_right, kinds
from analyses.experiments.planted_truth.options import PlantedTruthOptions
from analyses.experiments.planted_truth.world import PlantedWorld, planted_world
from finetune.common.checksums import cached_frame
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.progress import notice
from finetune.evaluation.judging import AnswerJudge
from finetune.training.train import TuneConfig
from interp.models.load_pair import load_pair
from interp.verdicts.diagnose import diagnose
from interp.weight_edits.save import CURE

STORED, OVERWRITTEN, DAMAGED, ABSENT, RARE = "stored", "overwritten", "damaged", "absent", "rare"
RETAINED = "retained"
LESSON_BATCH = 32


def cells(options: PlantedTruthOptions) -> list[GridCell]:
    """One cell per kind of damage and seed, the telling kinds first."""
    return [
        GridCell.of(seed, how=d.how, part=d.part, forms=d.forms, share=d.share)
        for d in kinds(full=options.full)
        if not options.damage or d.how in options.damage
        for seed in options.seeds
    ]


def measure(options: PlantedTruthOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Damage a seed's base, diagnose it, and teach it other facts."""
    world, damage = planted_world(options, cell.seed, home.parents[1]), Damage(**cell.params)
    model = damaged_model(options, world, damage)
    frame = cached_frame(home / "verdicts.parquet", lambda: _diagnosed(options, world, model))
    told = read_json(model / CURE) if (model / CURE).is_file() else {}
    frame = _with_truth(frame, options, world, damage).assign(noise=told.get("size"))
    return _taught(options, world, model, frame, home / "lessons")


def _diagnosed(options: PlantedTruthOptions, world: PlantedWorld, model: Path) -> pd.DataFrame:
    return diagnose(
        load_pair(world.base, model),
        world.asked,
        phrasebook=world.book,
        answer_sets=world.facts.answer_sets,
        batch_tokens=options.batch_tokens,
        seed=world.seed,
    ).to_frame()


def _taught(
    options: PlantedTruthOptions, world: PlantedWorld, model: Path, frame: pd.DataFrame, home: Path
) -> pd.DataFrame:
    """Join what lessons bring back of the damaged model; where they cannot be given, say so."""
    tune = world.preset.tune
    rate = (min(tune.learning_rates),)
    plan = LessonPlan(
        source=str(model),
        base=str(world.base),
        prompts=world.prompts(world.asked),
        judge=AnswerJudge(world.facts.answer_sets),
        config=TuneConfig(batch=LESSON_BATCH, learning_rates=rate),
        steps=tuple(sorted(set(options.lesson_steps) - {0})),
        seed=world.seed,
        home=home,
    )
    try:
        return frame.join(after_lessons(plan, frame), on="fact_id") if plan.steps else frame
    except InputError as error:
        notice(f"no lesson: {error}")
        return frame


def _with_truth(
    frame: pd.DataFrame, options: PlantedTruthOptions, world: PlantedWorld, damage: Damage
) -> pd.DataFrame:
    """Name each fact's state by how the models were made; empty where construction does not say.

    A fact was stored if pretraining met it often enough and the base states it in every form. Wrong after
    damage to W_Q and W_K alone (or to nothing) it is ``stored`` still, for the other weights are as they
    were; after its answer was overwritten it is ``overwritten``; after other damage it is ``damaged``, in a
    degree that construction does not say. Pretraining met ``absent`` facts never and ``rare`` ones hardly
    ever, and the base answers these in no form.
    """
    met = frame["fact_id"].map(world.met)
    had = frame["fact_id"].map(world.stated).astype(bool) & (met >= options.met)
    target = frame["fact_id"].isin(world.targets)
    wrong = ~frame["right"].astype(bool)
    lost = had & wrong
    if damage.how == "noise":
        lost &= frame["fact_id"].map(healthy_right(options, world)).astype(bool)
    if damage.how == "targeted":
        lost &= target
    whole = damage.part == "routing" or damage.how == "identity"
    hurt = STORED if whole else OVERWRITTEN if damage.how == "targeted" else DAMAGED
    absent = frame["fact_id"].isin({fact.id for fact in world.absent})
    rare = (met <= options.rare) & frame["control_never"] & wrong
    named = np.select([absent, rare, had & ~wrong, lost], [ABSENT, RARE, RETAINED, hurt], default="")
    return frame.assign(met=met, target=target, truth=named)
