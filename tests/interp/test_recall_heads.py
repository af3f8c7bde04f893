"""Recall heads against knock-outs one at a time, and value-weighted attention against W_O itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from einops import einsum

from finetune.common.errors import InputError
from interp.measures.attention import last_row_patterns, subject_attention
from interp.measures.value_weighted import value_weighted_attention
from interp.patching.knockout import knockout
from interp.patching.recall_heads import RecallHeads, recall_heads
from interp.stats import adjusted, mean_p_values
from tests.interp import measuring_fixtures as tiny


@pytest.fixture(scope="module")
def found() -> RecallHeads:
    """Find heads by a level that the corrected p-values of a random model reach; by 0.05 it has none."""
    model = tiny.both("llama").hooked
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("interp.patching.recall_heads.ALPHA", 0.5)
        return recall_heads(model, tiny.batch()[:12], tiny.tokenizer(), count=3)


def test_effects_are_those_of_single_knockouts(found: RecallHeads) -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()[:12]
    for layer, head in ((0, 1), (1, 3)):
        alone = knockout(model, batch, tiny.tokenizer(), layers=[layer], heads=[head])
        torch.testing.assert_close(found.effect[layer, head], alone.change.mean(), atol=1e-5, rtol=0)


def test_chosen_heads_are_the_most_needed_of_those_left_by_the_correction(found: RecallHeads) -> None:
    frame = found.to_frame()
    chosen = frame[frame["recall"]]
    assert 0 < len(chosen) <= 3
    assert (chosen["corrected"] <= 0.5).all()
    assert set(found.heads) == set(zip(chosen["layer"], chosen["head"], strict=True))
    clear = frame[frame["corrected"] <= 0.5]
    assert list(chosen["effect"]) == list(clear["effect"].head(3))


def test_they_are_measured_on_other_facts_only(found: RecallHeads, tmp_path) -> None:
    model, rest = tiny.both("llama").hooked, tiny.batch()[12:]
    mass = subject_attention(model, rest)
    found.save(tmp_path / "heads.safetensors")
    mean = RecallHeads.load(tmp_path / "heads.safetensors").mean(mass.values, mass.fact_ids)
    expected = sum(mass.values[:, layer, head] for layer, head in found.heads) / len(found.heads)
    torch.testing.assert_close(mean, expected)
    whole = subject_attention(model, tiny.batch())
    seen = found.mean(whole.values, whole.fact_ids)
    assert seen[:12].isnan().all()
    assert seen[12:].isfinite().all()
    assert RecallHeads.none(2, 4).mean(mass.values, mass.fact_ids).isnan().all()


def test_noise_has_no_recall_heads() -> None:
    """Of 270 heads that do nothing ten have an interval below zero, and were all called recall heads."""
    rng, found, plain = np.random.default_rng(0), [], []
    for _ in range(20):
        effects = rng.normal(size=(30, 270)) * np.exp(0.5 * rng.normal(size=(30, 270)))
        p_values = mean_p_values(effects, side="below")
        found.append((adjusted(p_values) <= 0.05).sum())
        plain.append((p_values <= 0.025).sum())
    assert np.mean(plain) > 3
    assert np.mean(np.array(found) == 0) >= 0.85


def test_groups_are_one_for_each_fact_whatever_holds_them(found: RecallHeads) -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()[:12]
    again = recall_heads(model, batch, tiny.tokenizer(), count=3, groups=np.array(batch.fact_ids))
    assert again.heads == ()
    torch.testing.assert_close(again.corrected, found.corrected)
    with pytest.raises(InputError, match="1 groups for 12 facts"):
        recall_heads(model, batch, tiny.tokenizer(), groups=["Ada"])


def test_one_subject_is_too_few_to_find_heads_on() -> None:
    with pytest.raises(InputError, match="give at least 2 facts"):
        recall_heads(tiny.both("llama").hooked, tiny.batch()[:1], tiny.tokenizer())


@pytest.mark.parametrize("name", tiny.FEW)
def test_value_weighted_attention_is_the_norm_of_pattern_times_values_times_w_o(name: str) -> None:
    model, batch = tiny.both(name).hooked, tiny.batch()
    weighted = value_weighted_attention(model, batch, batch_tokens=40)
    names = [f"blocks.{layer}.attn.hook_v" for layer in range(model.cfg.n_layers)]
    with torch.inference_mode():
        _, cache = model.run_with_cache(
            batch.input_ids, attention_mask=batch.attention_mask, names_filter=names
        )
    rows = last_row_patterns(model, batch)
    for layer, hook in enumerate(names):
        values = cache[hook].repeat_interleave(model.cfg.n_heads // cache[hook].shape[2], dim=2)
        w_o = model.blocks[layer].attn.W_O
        for mask, found in ((batch.subject_mask, weighted.values), (batch.attention_mask, weighted.total)):
            weights = rows[:, layer] * mask[:, None]
            wrote = einsum(
                weights, values, w_o, "fact head pos, fact pos head d, head d out -> fact head out"
            )
            torch.testing.assert_close(found[:, layer], wrote.norm(dim=-1), atol=1e-4, rtol=1e-3)
