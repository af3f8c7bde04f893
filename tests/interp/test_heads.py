"""Paired imbalance and the ranking of heads, against exact tests and planted effects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from finetune.common.errors import InputError
from interp.measures.attention import AttentionMass, subject_attention
from interp.measures.head_changes import HeadRanking, Imbalance, imbalance, rank_heads
from tests.interp import measuring_fixtures as tiny


def _change(values: torch.Tensor) -> Imbalance:
    ids = tuple(f"f{i}" for i in range(len(values)))
    return Imbalance(values=values, raw=values, fact_ids=ids)


@pytest.fixture(scope="module")
def masses() -> tuple[AttentionMass, AttentionMass]:
    batch = tiny.batch()
    return tuple(subject_attention(tiny.both("llama", seed=seed).hooked, batch) for seed in (0, 1))


def test_imbalance_is_base_minus_finetuned_whatever_the_order_of_facts(masses) -> None:
    base, finetuned = masses
    order = torch.randperm(len(base.fact_ids), generator=torch.Generator().manual_seed(0))
    shuffled = replace(
        finetuned,
        values=finetuned.values[order],
        raw=finetuned.raw[order],
        fact_ids=tuple(finetuned.fact_ids[i] for i in order),
    )
    change = imbalance(base, shuffled)
    assert torch.equal(change.values, base.values - finetuned.values)
    assert (change.model, change.finetuned) == (base.model, finetuned.model)
    assert not imbalance(base, base).values.any()


def test_imbalance_is_saved_with_both_models(masses, tmp_path: Path) -> None:
    change = imbalance(*masses)
    change.save(tmp_path / "change.safetensors")
    loaded = Imbalance.load(tmp_path / "change.safetensors")
    assert (loaded.model, loaded.finetuned) == (change.model, change.finetuned)
    assert len(loaded.to_frame()) == change.values.numel()


def test_other_facts_or_another_shape_are_refused(masses) -> None:
    base, finetuned = masses
    with pytest.raises(InputError, match="2 facts"):
        imbalance(base, replace(finetuned, fact_ids=("odd", *finetuned.fact_ids[1:])))
    with pytest.raises(InputError, match="have no pairs"):
        imbalance(base, replace(finetuned, values=finetuned.values[:, :1]))


def test_p_values_of_few_facts_are_scipys_exact_ones() -> None:
    values = torch.randn(9, 1, 3, generator=torch.Generator().manual_seed(0)) + 0.4
    ranking = rank_heads(_change(values))
    for head in range(3):
        exact = stats.permutation_test(
            (values[:, 0, head].double().numpy(),), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert ranking.p_value[0, head].item() == pytest.approx(exact.pvalue, abs=1e-6)
    expected = stats.false_discovery_control(ranking.p_value.flatten().double().numpy())
    np.testing.assert_allclose(ranking.corrected.flatten(), expected)


def test_planted_heads_come_first_and_the_others_stay_insignificant() -> None:
    noise = torch.randn(120, 3, 4, generator=torch.Generator().manual_seed(1))
    noise[:, 2, 1] += 1.0
    noise[:, 0, 3] -= 0.7
    frame = rank_heads(_change(noise)).to_frame()
    assert list(zip(frame["layer"], frame["head"], strict=True))[:2] == [(2, 1), (0, 3)]
    assert (frame["corrected"][:2] < 0.01).all()
    assert (frame["corrected"][2:] > 0.05).all()
    assert ((frame["low"] < frame["change"]) & (frame["change"] < frame["high"])).all()
    assert (frame["n"] == 120).all()


def test_the_unit_of_the_test_is_the_subject() -> None:
    """Ten copies of one subject's fact are no more evidence than one."""
    generator = torch.Generator().manual_seed(2)
    few = torch.randn(10, 1, 2, generator=generator) + 0.5
    many, groups = few.repeat_interleave(10, dim=0), np.repeat(np.arange(10), 10)
    once, grouped = rank_heads(_change(few)), rank_heads(_change(many), groups=list(groups))
    torch.testing.assert_close(grouped.p_value, once.p_value)
    torch.testing.assert_close(grouped.change, once.change)
    assert (rank_heads(_change(many)).p_value < once.p_value).all()


def test_without_an_effect_few_rankings_find_one() -> None:
    found = 0
    for seed in range(60):
        values = torch.randn(30, 2, 4, generator=torch.Generator().manual_seed(seed))
        found += bool((rank_heads(_change(values), permutations=1000).corrected < 0.05).any())
    assert found <= 8  # 5% of 60 is 3; more than 8 has a probability below 0.5%


def test_by_is_stricter_than_bh_and_a_ranking_is_saved(tmp_path: Path) -> None:
    values = torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(3)) + 0.3
    bh, by = rank_heads(_change(values)), rank_heads(_change(values), method="by")
    assert (by.corrected >= bh.corrected).all()
    by.save(tmp_path / "ranking.safetensors")
    assert HeadRanking.load(tmp_path / "ranking.safetensors").to_frame().equals(by.to_frame())


def test_facts_asked_twice_are_paired_in_their_order_or_refused(masses) -> None:
    ids = ("same",) * len(masses[0].fact_ids)
    base, finetuned = (replace(mass, fact_ids=ids) for mass in masses)
    assert torch.equal(imbalance(base, finetuned).values, base.values - finetuned.values)
    half = len(ids) // 2
    twice = replace(masses[0], fact_ids=masses[0].fact_ids[:half] * 2)
    swapped = replace(masses[1], fact_ids=tuple(reversed(masses[0].fact_ids[:half] * 2)))
    with pytest.raises(InputError, match="more than once"):
        imbalance(twice, swapped)
