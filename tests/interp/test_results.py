"""Estimates against theory: coverage by simulation, scipy's t interval, exact binomial, empty inputs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy import stats

from finetune.common.errors import InputError
from interp.measures.attention import AttentionMass, subject_attention
from interp.measures.result import Result
from interp.models.identity import model_fingerprint
from interp.models.parity import boot_checked_bridge
from interp.stats import Estimate, estimate, over_seeds
from tests.architectures import build
from tests.interp import measuring_fixtures as tiny


def test_intervals_over_clusters_cover_the_truth_as_often_as_they_say() -> None:
    """Facts of one subject share an offset: bootstrap over subjects covers, bootstrap over facts does not."""
    rng = np.random.default_rng(0)
    trials, clusters, size = 200, 40, 5
    groups = np.repeat(np.arange(clusters), size)
    covered = {"clustered": 0, "naive": 0}
    for trial in range(trials):
        values = 0.3 + rng.normal(size=clusters)[groups] + 0.3 * rng.normal(size=clusters * size)
        for kind, labels in (("clustered", groups), ("naive", None)):
            e = estimate(values, groups=labels, seed=trial)
            covered[kind] += e.low <= 0.3 <= e.high
    # A percentile bootstrap over 40 clusters covers a little under its nominal 95%; 3 sd of 200 trials is 5%.
    assert 0.88 <= covered["clustered"] / trials <= 0.99
    assert covered["naive"] / trials < 0.8


def test_the_mean_of_unequal_clusters_is_the_mean_over_facts() -> None:
    values, groups = np.array([1.0, 1, 1, 0]), np.array(["a", "a", "a", "b"])
    e = estimate(values, groups=groups)
    assert e.value == 0.75
    assert (e.low, e.high) == pytest.approx((0, 1), abs=1e-6), "two subjects that differ tell nothing"
    assert e.n == 4


def test_a_paired_difference_is_tighter_than_two_separate_means() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(size=300)
    a, b = shared + 0.1 * rng.normal(size=300), shared + 0.1 * rng.normal(size=300) + 0.2
    paired, alone = estimate(b - a), estimate(b)
    assert paired.low > 0.15
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)


def test_the_interval_agrees_with_the_normal_one_on_many_independent_values() -> None:
    values = np.random.default_rng(2).normal(size=2000)
    e = estimate(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (e.high - e.low) / 2 == pytest.approx(half, rel=0.08)
    wide = estimate(values, confidence=0.99)
    assert wide.low < e.low < e.high < wide.high


def test_missing_values_do_not_count() -> None:
    values = np.array([1.0, np.nan, 0, np.nan, 1])
    assert estimate(values) == estimate(np.array([1.0, 0, 1]))
    assert estimate(np.full(3, np.nan)) == Estimate(value=None, low=None, high=None, n=0)
    assert estimate(np.array([])) == Estimate(value=None, low=None, high=None, n=0)


def test_one_subject_has_a_value_and_no_interval() -> None:
    e = estimate(np.array([0.0, 1]), groups=np.array([7, 7]))
    assert e == Estimate(value=0.5, low=None, high=None, n=2)


@pytest.mark.parametrize(("value", "n"), [(1.0, 20), (0.0, 7)])
def test_all_right_or_all_wrong_gives_the_exact_binomial_interval(value: float, n: int) -> None:
    e = estimate(np.full(n, value))
    exact = stats.binomtest(int(value * n), n).proportion_ci(0.95, method="exact")
    assert (e.low, e.high) == (exact.low, exact.high)
    assert e.high - e.low > 0.1


def test_a_constant_that_is_no_share_has_a_point_interval() -> None:
    assert estimate(np.full(5, 0.3)) == Estimate(value=0.3, low=0.3, high=0.3, n=5)


def test_one_seed_gives_one_interval() -> None:
    values = np.random.default_rng(3).normal(size=50)
    assert estimate(values, seed=5) == estimate(values, seed=5)
    assert estimate(values, seed=5) != estimate(values, seed=6)


def test_over_seeds_is_scipys_t_interval() -> None:
    values = [0.2, 0.25, 0.31, 0.22]
    e = over_seeds([Estimate(value=v, low=None, high=None, n=9) for v in values])
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (e.value, e.low, e.high, e.n) == pytest.approx((np.mean(values), low, high, 4))


def test_over_seeds_needs_two_values_for_an_interval() -> None:
    one, none = Estimate(value=0.4, low=0.1, high=0.5, n=9), Estimate(value=None, low=None, high=None, n=0)
    assert over_seeds([one, none]) == Estimate(value=0.4, low=None, high=None, n=1)
    assert over_seeds([none]) == none


def test_over_seeds_keeps_the_interval_within_what_can_be_and_refuses_a_mean_that_cannot() -> None:
    shares = [Estimate(value=v, low=None, high=None, n=9) for v in (0.9, 1.0, 0.95)]
    assert over_seeds(shares).high > 1 > over_seeds(shares, bounds=(0, 1)).high
    assert over_seeds(shares, bounds=(-1, 1)).high == 1
    with pytest.raises(ValueError, match="does not lie between 0 and 1"):
        over_seeds([Estimate(value=v, low=None, high=None, n=9) for v in (-0.2, -0.1)], bounds=(0, 1))


def test_seeds_that_agree_exactly_keep_the_widest_of_their_own_intervals() -> None:
    own = [Estimate(value=1.0, low=low, high=1.0, n=n) for low, n in ((0.9, 30), (0.8, 14))]
    assert over_seeds(own, bounds=(0, 1)) == Estimate(value=1.0, low=0.8, high=1.0, n=2)
    bare = [Estimate(value=0.0, low=None, high=None, n=1)] * 2
    assert over_seeds(bare) == Estimate(value=0.0, low=None, high=None, n=2)


@pytest.fixture(scope="module")
def mass() -> AttentionMass:
    return subject_attention(tiny.both("llama").hooked, tiny.batch())


def test_a_result_comes_back_as_it_was_saved(mass: AttentionMass, tmp_path: Path) -> None:
    mass.save(tmp_path / "deep" / "mass.safetensors")
    loaded = AttentionMass.load(tmp_path / "deep" / "mass.safetensors")
    assert (loaded.fact_ids, loaded.model) == (mass.fact_ids, mass.model)
    assert all(torch.equal(getattr(loaded, n), getattr(mass, n)) for n in ("values", "raw", "rest"))
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["mass.safetensors"]


def test_a_result_accepts_its_own_model_and_no_other(mass: AttentionMass) -> None:
    mass.require(tiny.both("llama").hooked)
    for other in (tiny.both("llama", seed=1), tiny.both("gpt2")):
        with pytest.raises(InputError, match="another model"):
            mass.require(other.hooked)


def test_merging_an_adapter_makes_another_model_and_taking_it_out_makes_the_first_again() -> None:
    """Unmerging leaves the weights off by rounding, which bytes would not forgive; the probe does."""
    torch.manual_seed(0)
    peft = get_peft_model(build("llama", len(tiny.tokenizer())), LoraConfig(init_lora_weights=False))
    bridge, _ = boot_checked_bridge(peft.base_model.model, tiny.tokenizer(), "adapted")
    adapted = model_fingerprint(bridge)
    with peft.disable_adapter():
        plain = model_fingerprint(bridge)
    peft.merge_adapter()
    assert model_fingerprint(bridge).matches(adapted)
    peft.unmerge_adapter()
    with peft.disable_adapter():
        assert model_fingerprint(bridge).matches(plain)
    assert not adapted.matches(plain)


def test_a_result_without_a_model_is_refused(mass: AttentionMass) -> None:
    with pytest.raises(InputError, match="does not say"):
        replace(mass, model=None).require(tiny.both("llama").hooked)


def test_a_file_of_another_kind_is_refused(mass: AttentionMass, tmp_path: Path) -> None:
    mass.save(tmp_path / "mass.safetensors")
    with pytest.raises(InputError, match=r"mass\.safetensors: holds a AttentionMass, not a Result"):
        Result.load(tmp_path / "mass.safetensors")
    (tmp_path / "text").write_text("nothing of the kind")
    with pytest.raises(InputError, match=r"cannot be read .*or measure it again"):
        AttentionMass.load(tmp_path / "text")


def test_results_are_frozen(mass: AttentionMass) -> None:
    with pytest.raises(FrozenInstanceError):
        mass.fact_ids = ()


def test_differences_that_are_all_zero_have_a_two_sided_interval():
    told = estimate(np.zeros(30), difference=True)
    assert told.value == 0
    assert told.low == -told.high < 0
    assert told.high == estimate(np.zeros(30)).high
