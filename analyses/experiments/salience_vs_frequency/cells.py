"""Cells of salience_vs_frequency: what is trained, and what each cell measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analyses.common.checkpoints import Checkpoints
from analyses.common.grid_cells import GridCell, shared_frame
from analyses.common.held_out import measure_held_out
from analyses.common.options import SHUFFLED
from analyses.common.training_setup import (
    TrainingSetup,
    WorldSetting,
    fine_tune,
    make_training_setup,
    setting_for,
)
from analyses.common.visits import opened
from analyses.experiments.salience_vs_frequency.options import SalienceVsFrequencyOptions
from finetune.common.errors import InputError
from finetune.data.splits import shuffle_popularity
from finetune.data.synthetic_world import world_in_levels
from interp.measures.score_gradient import harm_score
from interp.measures.value_readout import value_readout
from interp.selection.candidates import Candidates
from interp.selection.scores import SCORES

TUNED = ("top", "bottom", "random")
HELD_OUT = 0.5  # of the subjects: every level needs enough facts to be asked


def cells(options: SalienceVsFrequencyOptions) -> list[GridCell]:
    """One cell per arm and seed; seeds vary first, so that processes do not wait for one base."""
    arms = (*TUNED, *(f"{SHUFFLED}{arm}" for arm in TUNED[:2] if options.placebo))
    return [GridCell.of(seed, arm=arm) for arm in arms for seed in options.seeds]


def measure(options: SalienceVsFrequencyOptions, cell: GridCell, home: Path) -> pd.DataFrame:
    """Fine-tune one arm, ask the held-out facts, and read each of them at the base."""
    setting = setting_of(options, cell.seed)
    setup = make_training_setup(setting, cache=options.bases, seed=cell.seed, test=HELD_OUT)
    name = cell.params["arm"]
    arm = fine_tune(setup, options.arms(setup.parts.train, seed=cell.seed)[name], home / "arm", name=cell.key)
    checkpoints, frame = measure_held_out(setup, {name: arm.path}, home, batch_tokens=options.batch_tokens)
    # Read at the base, which all arms of a seed share.
    path = home.parents[1] / "predictors" / f"seed-{setup.seed}.parquet"
    read = shared_frame(path, lambda: predictors(setup, checkpoints, options.batch_tokens))
    frame = frame.merge(read, on="fact_id", validate="1:1")
    of_quartile = [f"q{quartile}" for quartile in frame["quartile"]]
    levels = of_quartile if options.facts else [f"{met:g}" for met in frame["popularity"]]
    return frame.assign(level=levels, step=arm.step, training_loss=arm.training_loss)


def setting_of(options: SalienceVsFrequencyOptions, seed: int) -> WorldSetting:
    """Resolve one seed's facts and base; a world's pretraining has as many rows as its facts expect."""
    if options.facts is not None:
        return setting_for(options, options.load(options.facts, limit=options.limit), seed)
    setting = setting_for(options, None, seed)
    steps = options.pretrain_steps or round(options.levels.rows / setting.base.batch)
    return replace(
        setting, facts=world_in_levels(options.levels, seed=seed), base=replace(setting.base, steps=steps)
    )


def predictors(setup: TrainingSetup, checkpoints: Checkpoints, batch_tokens: int) -> pd.DataFrame:
    """Read every held-out fact at the base: one row per fact."""
    facts, prompts = checkpoints.test, checkpoints.prompts
    with opened(checkpoints, "base") as found:
        asked_of = found.model, found.batch, found.tokenizer
        readout = value_readout(*asked_of, checkpoints.answer_sets, batch_tokens=batch_tokens).to_frame()
        harm = harm_score(*asked_of, batch_tokens=batch_tokens).to_frame()
    candidates = Candidates(
        facts=facts,
        base=checkpoints.base,
        book=checkpoints.phrasebook,
        prompts=prompts,
        batch_tokens=batch_tokens,
    )
    asked = {name: SCORES[name].compute(candidates) for name in ("statement", "question")}
    for item in candidates.left_out:
        raise InputError(f"fact {item.where!r}: {item.reason}; leave it out")
    everyone = setup.setting.facts.to_frame()
    answer = everyone["answers"].str[0]
    prior = answer.groupby([everyone["relation"], answer]).transform("size") / everyone.groupby("relation")[
        "id"
    ].transform("size")
    dealt = {fact.id: fact.popularity for fact in shuffle_popularity(facts, seed=setup.seed)}
    ids = [fact.id for fact in facts]
    table = pd.DataFrame(
        {
            "fact_id": ids,
            "frequency": np.log2(1 + np.array([fact.popularity for fact in facts], dtype=np.float64)),
            "answer_prior": prior.set_axis(everyone["id"]).loc[ids].to_numpy(),
            **asked,
            "shuffled": [dealt[each] for each in ids],
        }
    )
    read = readout.merge(harm, on="fact_id")[["fact_id", "stored", "used", "harm_score"]]
    return table.merge(read, on="fact_id", validate="1:1")
