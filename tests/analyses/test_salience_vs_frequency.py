"""Survival: numbers against the rows they are of, curves against scipy and known cases, real facts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analyses.experiments.salience_vs_frequency.calibration import (
    fit_logistic,
    held_out_probabilities,
    ranks_within,
)
from analyses.experiments.salience_vs_frequency.cells import cells, measure, setting_of
from analyses.experiments.salience_vs_frequency.experiment import EXPERIMENT
from analyses.experiments.salience_vs_frequency.numbers import answer_tiers, calibrated, summarise
from analyses.experiments.salience_vs_frequency.options import TINY, SalienceVsFrequencyOptions
from analyses.experiments.salience_vs_frequency.page import study
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.training.examples import sampling_weights
from interp.reports.read.results import Results


def test_a_curve_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    x = rng.random(4000)
    y = rng.random(4000) < 1 / (1 + np.exp(-(-1 + 3 * x)))
    a, b = fit_logistic(x, y)
    assert (a, b) == pytest.approx((-1, 3), abs=0.25)
    chance = 1 / (1 + np.exp(-(a + b * x)))
    assert (chance - y).mean() == pytest.approx(0, abs=1e-5), "the score in a is zero"
    assert ((chance - y) * x).mean() == pytest.approx(-2e-4 * b, abs=1e-5), "in b it is the ridge's"


def test_a_rank_that_separates_still_gives_finite_curves() -> None:
    a, b = fit_logistic(np.linspace(0, 1, 20), np.arange(20) >= 10)
    assert np.isfinite([a, b]).all()
    assert b > 5


def test_probabilities_come_from_the_other_folds_alone() -> None:
    rng = np.random.default_rng(1)
    x, fold = rng.random(90), np.repeat([0, 1, 2], 30)
    y = rng.random(90) < x
    curve, rate = held_out_probabilities(x, y, fold)
    changed = np.where(fold == 1, ~y, y)
    again, rate_again = held_out_probabilities(x, changed, fold)
    np.testing.assert_array_equal(curve[fold == 1], again[fold == 1])
    assert not np.allclose(curve[fold == 0], again[fold == 0])
    assert set(rate[fold == 1]) == set(rate_again[fold == 1]) == {y[fold != 1].mean()}
    assert np.isnan(held_out_probabilities(x, y, np.zeros(90))[0]).all()


def test_ranks_are_within_groups_and_ties_share_one() -> None:
    ranks = ranks_within(np.array([3.0, 1, 1, 10, 20]), np.array([0, 0, 0, 1, 1]))
    assert ranks == pytest.approx([2.5 / 3, 1 / 3, 1 / 3, 0.25, 0.75])


def test_a_world_is_met_as_often_as_its_levels_say() -> None:
    setting = setting_of(SalienceVsFrequencyOptions(world="tiny"), 0)
    rows = setting.base.steps * setting.base.batch
    expected = rows * sampling_weights(setting.facts, setting.text.exponent)
    popularity = [fact.popularity for fact in setting.facts]
    np.testing.assert_allclose(expected, popularity, rtol=0.01)
    assert sorted(set(popularity)) == list(TINY.sightings)
    default = setting_of(SalienceVsFrequencyOptions(), 0).base
    assert default.steps * default.batch == pytest.approx(18 * 5 * 8191, rel=1e-3)


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """Bootstrap a little: the intervals have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interp.stats.bootstrap.RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Longer pretraining than the levels say, so that the tiny base knows something."""
    folder = tmp_path_factory.mktemp("survival")
    options = SalienceVsFrequencyOptions(
        out=folder / "run",
        world="tiny",
        seeds=(0,),
        pretrain_steps=600,
        cache=folder / "cache",
        placebo=True,
        workers=1,
        quiet=True,
    )
    return EXPERIMENT.run(options)


@pytest.fixture(scope="module")
def frame(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "facts.parquet")


def test_every_arm_is_asked_the_same_facts_whose_predictors_are_the_bases(
    out: Path, frame: pd.DataFrame
) -> None:
    assert set(frame["arm"]) == {"top", "bottom", "random", "shuffled_top", "shuffled_bottom"}
    columns = ["frequency", "answer_prior", "stored", "used", "statement", "question", "harm_score"]
    per_fact = frame.groupby("fact_id")[columns].nunique()
    assert (per_fact == 1).all(axis=None)
    (once,) = (out / "predictors").glob("*.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(once).set_index("fact_id")[columns],
        frame[frame["arm"] == "top"].set_index("fact_id")[columns],
        check_like=True,
    )
    subjects = frame["subject"].nunique()
    assert abs(subjects - 42) <= 4, "about half of 84 subjects are held out"
    assert (frame.groupby("level")["subject"].nunique() >= 3).all()
    assert frame["known"].sum() > 20


def test_the_placebo_deals_out_the_same_frequencies_by_subject(frame: pd.DataFrame) -> None:
    one = frame[frame["arm"] == "top"]
    assert one.groupby("subject")["shuffled"].nunique().max() == 1
    assert sorted(one["shuffled"]) == sorted(one["popularity"])
    assert (one["shuffled"] != one["popularity"]).any()


def test_an_answers_prior_is_its_share_of_the_relations_facts(frame: pd.DataFrame) -> None:
    facts = setting_of(SalienceVsFrequencyOptions(world="tiny"), 0).facts.to_frame()
    row = frame.iloc[5]
    of_relation = facts[facts["relation"] == row["relation"]]
    share = (of_relation["answers"].str[0] == row["answer"]).mean()
    assert row["answer_prior"] == pytest.approx(share)


def test_numbers_can_be_computed_again_from_the_rows(out: Path, frame: pd.DataFrame) -> None:
    results = read_json(out / "results.json")
    known = frame[frame["known"]]
    areas = []
    for arm, rows in known.groupby("arm"):
        right = rows["correct"].astype(bool)
        u = stats.mannwhitneyu(rows.loc[right, "statement"], rows.loc[~right, "statement"]).statistic
        areas.append(u / (right.sum() * (~right).sum()))
        found = results["arms"][arm]["predictors"]["statement"]
        assert found["area"]["value"] == pytest.approx(areas[-1])
        rank = stats.spearmanr(rows["statement"], rows["log_prob"]).statistic
        assert found["rank_log_prob"]["value"] == pytest.approx(rank)
    assert results["any_arm"]["statement"]["area"]["value"] == pytest.approx(np.mean(areas))
    one = frame[frame["arm"] == "top"]
    assert results["salience"]["stored"]["value"] == pytest.approx(
        stats.spearmanr(one["popularity"], one["stored"]).statistic
    )
    for level, stored in results["storage"].items():
        assert stored["all"]["value"] == pytest.approx(one.loc[one["level"] == level, "known"].mean())
    assert list(results["storage"]) == [f"{met:g}" for met in TINY.sightings]


def test_a_run_leaves_its_claims_figures_and_placebos(out: Path) -> None:
    claims = read_json(out / "claims.json")
    assert claims[0]["claim"] == "facts met more often survive fine-tuning more often (any arm)"
    assert len(claims) == 14
    for name in ("levels", "predictors", "calibration"):
        assert (out / "figures" / f"{name}.png").is_file()
    assert read_json(out / "manifest.json")["finished"]


def test_with_one_seed_curves_are_fitted_on_other_subjects(frame: pd.DataFrame) -> None:
    made = calibrated(answer_tiers(frame))
    assert made.loc[~made["known"], "p_statement"].isna().all()
    known = made[made["known"] & (made["arm"] == "top")]
    assert known["p_statement"].between(0, 1).all()
    assert known.groupby("subject")["p_rate"].nunique().max() == 1
    assert known["p_rate"].nunique() == 2


def test_a_perfect_predictor_is_told_from_a_useless_one() -> None:
    """Survival that only depends on what is stored: the stored readout has all the area, frequency none."""
    rng = np.random.default_rng(3)
    frames = []
    for seed in range(3):
        n = 200
        stored = rng.random(n)
        frames += [
            pd.DataFrame(
                {
                    "seed": seed,
                    "arm": arm,
                    "fact_id": [f"f{i}" for i in range(n)],
                    "subject": [f"s{i // 2}" for i in range(n)],
                    "level": [f"{2 ** (i % 3)}" for i in range(n)],
                    "popularity": [2.0 ** (i % 3) for i in range(n)],
                    "known": True,
                    "correct": stored > 0.4,
                    "log_prob": np.log(stored),
                    "frequency": [float(i % 3) for i in range(n)],
                    "stored": stored,
                    **{name: rng.random(n) for name in ("answer_prior", "used", "statement", "question")},
                    **{name: rng.random(n) for name in ("harm_score", "shuffled")},
                }
            )
            for arm in ("top", "bottom")
        ]
    results = summarise(pd.concat(frames, ignore_index=True))
    assert results["any_arm"]["stored"]["area"]["value"] == 1
    assert results["any_arm"]["stored"]["over_frequency"]["low"] > 0.3
    assert results["any_arm"]["frequency"]["area"]["value"] == pytest.approx(0.5, abs=0.08)
    fit = results["calibration"]["stored"]
    assert fit["brier"]["value"] < 0.05  # of 0.24; the seeds' base rates differ
    assert fit["brier_gain"]["value"] == pytest.approx(0.24 - fit["brier"]["value"], abs=0.02)
    assert (fit["bins"]["1"]["observed"]["value"], fit["bins"]["5"]["observed"]["value"]) == (0, 1)
    assert results["calibration"]["shuffled"]["brier_gain"]["value"] == pytest.approx(0, abs=0.01)


def test_real_facts_are_measured_by_their_views(tmp_path: Path) -> None:
    lines = ["subject,relation,answer,popularity"]
    lines += [f"Town {i} Name{i % 7},capital of,City {i % 5},{i * i}" for i in range(120)]
    path = tmp_path / "facts.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = SalienceVsFrequencyOptions(
        facts=str(path), pretrain_steps=2, tune_steps=1, learning_rates=(1e-3,), cache=tmp_path / "cache"
    )
    options.check()
    frame = measure(options, cells(options)[0], tmp_path / "run" / "cells" / "one")
    assert set(frame["level"]) == {"q1", "q2", "q3", "q4"}
    assert frame["frequency"].to_numpy(float) == pytest.approx(
        np.log2(1 + frame["popularity"].to_numpy(float))
    )
    page = study(frame, Results.of(summarise(frame.assign(seed=0))))
    assert "viewed more often" in page.finding


def test_mistakes_name_the_setting() -> None:
    for wrong, message in (
        ({"limit": 100}, "--limit 100: goes with --facts"),
        ({"facts": "x.csv", "limit": 5}, "--limit 5"),
        ({"exponent": 0.5}, "--exponent"),
    ):
        with pytest.raises(InputError, match=message):
            SalienceVsFrequencyOptions(**wrong).check()
