"""Headline numbers: pairing by fact, pooling over seeds, heads averaged within a seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from analyses.common.options import TrainingOptions
from analyses.common.summary import head_means, summarise
from analyses.common.training_setup import TrainingSetup, setting_for
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from finetune.data.splits import partition
from finetune.data.synthetic_world import WorldConfig, make_world
from interp.stats import TEST_OVER_TRAIN, overlap_of

ARMS = ("base", "top", "bottom")


def facts(seed: int, n: int = 60) -> pd.DataFrame:
    """Random answers of three arms to the same facts, two facts a subject."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "seed": seed,
            "arm": arm,
            "fact_id": f"f{i}",
            "subject": f"s{i // 2}",
            "known": i % 3 > 0,
            "quartile": 1 + i % 4,
            "correct": bool(rng.random() < {"base": 0.1, "top": 0.8, "bottom": 0.5}[arm]),
            "subject_attention": rng.random(),
        }
        for arm in ARMS
        for i in range(n)
    ]
    frame = pd.DataFrame(rows)
    tried = (frame["arm"] == "bottom") & (rng.random(len(frame)) < 0.5)
    for name in ("recovered", "placebo_recovered"):
        drawn = pd.array(rng.random(len(frame)) < 0.5, dtype="boolean")
        frame[name] = pd.Series(drawn).where(tried, pd.NA)
    return frame


def test_a_contrast_is_the_mean_of_paired_differences_whatever_the_row_order():
    frame = facts(0)
    told = summarise(frame.sample(frac=1, random_state=1))["contrasts"]["top_minus_bottom"]
    wide = frame.pivot(index="fact_id", columns="arm", values="correct").astype(float)
    known = frame[frame["arm"] == "top"].set_index("fact_id")["known"]
    difference = wide["top"] - wide["bottom"]
    assert told["accuracy"]["value"] == pytest.approx(difference.mean())
    assert told["accuracy_known"]["value"] == pytest.approx(difference[known].mean())
    assert told["accuracy_known"]["n"] == known.sum()


def test_a_paired_interval_is_narrower_when_the_arms_agree():
    frame = facts(0)
    same = frame[frame["arm"] == "top"].assign(arm="bottom")
    flipped = same.index[same["correct"]][:3]
    same.loc[flipped, "correct"] = ~same.loc[flipped, "correct"]
    paired = pd.concat([frame[frame["arm"] != "bottom"], same], ignore_index=True)
    told = summarise(paired)
    width = {k: v["high"] - v["low"] for k, v in {"arm": told["arms"]["top"]["accuracy"]}.items()}
    contrast = told["contrasts"]["top_minus_bottom"]["accuracy"]
    assert contrast["high"] - contrast["low"] < width["arm"]


def test_transplant_and_placebo_are_averaged_over_the_same_facts():
    frame = facts(0)
    frame.loc[frame.index[frame["recovered"].notna()][:3], "placebo_recovered"] = pd.NA
    told = summarise(frame)["recovery"]
    assert told["pattern_only"]["n"] == told["placebo"]["n"] == told["difference"]["n"]
    gap = told["pattern_only"]["value"] - told["placebo"]["value"]
    assert told["difference"]["value"] == pytest.approx(gap)


def test_several_seeds_are_pooled_as_seeds_and_kept_apart():
    told = summarise(pd.concat([facts(0), facts(1), facts(2)], ignore_index=True))
    each = [told["seeds"][s]["arms"]["top"]["accuracy"]["value"] for s in "012"]
    pooled = told["arms"]["top"]["accuracy"]
    assert pooled["n"] == 3
    assert pooled["value"] == pytest.approx(np.mean(each))
    half = 4.302653 * np.std(each, ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom
    wide = half / (pooled["value"] * (1 - pooled["value"]))  # in log-odds, as of a share
    assert logit(pooled["high"]) - logit(pooled["value"]) == pytest.approx(wide, rel=1e-5)
    assert told["arms"]["base"]["accuracy"]["low"] > 0, "a share's interval stays a share"
    change = told["contrasts"]["top_minus_bottom"]["accuracy"]
    each = [told["seeds"][s]["contrasts"]["top_minus_bottom"]["accuracy"]["value"] for s in "012"]
    half = 4.302653 * np.std(each, ddof=1) / np.sqrt(3)
    assert change["high"] - change["value"] == pytest.approx(half, rel=1e-5)


def test_own_arms_are_contrasted_with_the_base():
    frame = facts(0)
    frame["arm"] = frame["arm"].replace({"top": "mine", "bottom": "theirs"})
    assert set(summarise(frame)["contrasts"]) == {"mine_minus_base", "theirs_minus_base"}


def test_heads_are_averaged_over_facts():
    frame = facts(0)
    mass = {arm: np.random.default_rng(i).random((60, 2, 3)) for i, arm in enumerate(ARMS)}
    told = head_means(frame, mass)
    assert np.array(told["arms"]["top"]) == pytest.approx(mass["top"].mean(0), abs=1e-5)
    assert (np.array(told["low"]["top"]) < mass["top"].mean(0)).all()
    assert (told["n"], told["n_layers"], told["n_heads"]) == (60, 2, 3)


def test_seeds_that_split_the_same_facts_have_wider_intervals():
    """The corrected resampled t; values, and what each seed says, stay."""
    frame = pd.concat([facts(0), facts(1), facts(2)], ignore_index=True)
    apart, overlapping = summarise(frame), summarise(frame.assign(**{TEST_OVER_TRAIN: 0.5}))
    assert overlapping["seeds"] == apart["seeds"]
    one, other = (tree["contrasts"]["top_minus_bottom"]["subject_attention"] for tree in (apart, overlapping))
    assert other["value"] == one["value"]
    wider = (other["high"] - other["value"]) / (one["high"] - one["value"])
    assert wider == pytest.approx(np.sqrt(1 + 3 * 0.5))


def test_seeds_of_worlds_draw_everything_anew_and_those_of_real_facts_do_not():
    made = make_world(WorldConfig(subjects=40, relations=2))
    assert setting_for(TrainingOptions(out=Path("x")), None, 1).redrawn
    setting = setting_for(TrainingOptions(out=Path("x")), made, 1)
    assert not setting.redrawn
    setup = TrainingSetup(setting=setting, parts=partition(made, seed=1), base=Path("base"), seed=1)
    assert setup.overlap == len(setup.parts.test) / len(setup.parts.train) == 0.5
    rows = pd.DataFrame({"seed": [1]})
    assert overlap_of(setup.told(rows)) == 0.5
    assert list(replace(setup, setting=replace(setting, redrawn=True)).told(rows)) == ["seed"]
    assert AttentionImbalanceOptions(facts="popqa").overlap({"train": 60, "test": 30}) == 0.5
    assert AttentionImbalanceOptions(facts="popqa").overlap({"train": 0, "test": 30}) == 0, (
        "somebody's own: nothing was split"
    )
    assert AttentionImbalanceOptions().overlap({"train": 60, "test": 30}) == 0
