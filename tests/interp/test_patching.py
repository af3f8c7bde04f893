"""The pattern transplant: own rows change nothing, another model's do, and the placebo is well formed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finetune.facts import InputError
from interp.attention import forward
from interp.decode import greedy
from interp.edits import InterventionError
from interp.patching import LastRows, last_rows, pattern_transplant, transplant_hooks, wrong_subject
from tests.interp import measuring_fixtures as tiny

NAMES = tiny.FEW


def _answers(name: str, rows: torch.Tensor, **chosen: list[int]) -> torch.Tensor:
    model, batch = tiny.both(name).hooked, tiny.batch()
    return forward(model, batch, transplant_hooks(model, batch, rows, **chosen)).log_softmax(-1)


@pytest.mark.parametrize("name", NAMES)
def test_a_models_own_rows_change_nothing(name: str) -> None:
    model, batch = tiny.both(name).hooked, tiny.batch()
    rows = last_rows(model, batch).values
    plain = forward(model, batch, []).log_softmax(-1)
    torch.testing.assert_close(_answers(name, rows), plain, atol=1e-6, rtol=1e-6)
    said = pattern_transplant(model, batch, rows, tiny.tokenizer(), max_new_tokens=3)
    assert said == greedy(model, batch, tiny.tokenizer(), max_new_tokens=3)


@pytest.mark.parametrize("name", NAMES)
def test_another_models_rows_change_the_answer(name: str) -> None:
    batch = tiny.batch()
    rows = last_rows(tiny.both(name, seed=1).hooked, batch).values
    own = last_rows(tiny.both(name).hooked, batch).values
    moved = (_answers(name, rows) - _answers(name, own)).abs().amax(-1)
    assert (moved > 1e-3).all()


def test_rows_go_only_into_the_chosen_layers_and_heads() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    rows = last_rows(tiny.both("llama", seed=1).hooked, batch).values
    own = last_rows(model, batch).values
    mixed = own.clone()
    mixed[:, 1, [0, 3]] = rows[:, 1, [0, 3]]
    chosen = _answers("llama", rows, layers=[1], heads=[0, 3])
    torch.testing.assert_close(chosen, _answers("llama", mixed), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_packed_equals_one_prompt_at_a_time(name: str) -> None:
    model, batch = tiny.both(name).hooked, tiny.batch()
    other = last_rows(tiny.both(name, seed=1).hooked, batch)
    packed = _answers(name, other.values)
    for i in range(len(batch)):
        one = batch[[i]]
        rows = other.take(one.fact_ids, one.input_ids.shape[1])
        alone = forward(model, one, transplant_hooks(model, one, rows)).log_softmax(-1)
        torch.testing.assert_close(packed[i : i + 1], alone, atol=2e-5, rtol=1e-5)
    said = pattern_transplant(model, batch, other.values, tiny.tokenizer(), max_new_tokens=3)
    one_by_one = pattern_transplant(
        model, batch, other.values, tiny.tokenizer(), max_new_tokens=3, batch_tokens=1
    )
    assert said == one_by_one


def test_taken_rows_are_cut_and_filled() -> None:
    batch = tiny.batch()
    rows = last_rows(tiny.both("llama").hooked, batch)
    width = batch.input_ids.shape[1]
    wide = rows.take(["plays1", "born0"], width + 4)
    assert torch.equal(wide[0, ..., :width], rows.values[batch.fact_ids.index("plays1")])
    assert not wide[..., width:].any()


def test_the_placebos_partner_differs_in_the_subject_alone() -> None:
    batch = tiny.batch()
    kept, partners = wrong_subject(batch, batch, seed=3)
    assert kept
    for row, partner in zip(kept, partners, strict=True):
        other = batch.fact_ids.index(partner)
        mine, theirs = batch.prompts[row], batch.prompts[other]
        assert mine.relation == theirs.relation
        assert mine.text[slice(*mine.subject)] != theirs.text[slice(*theirs.subject)]
        assert torch.equal(batch.attention_mask[row], batch.attention_mask[other])
        assert torch.equal(batch.subject_mask[row], batch.subject_mask[other])
        outside = batch.attention_mask[row].bool() & ~batch.subject_mask[row]
        assert torch.equal(batch.input_ids[row][outside], batch.input_ids[other][outside])
    assert wrong_subject(batch, batch, seed=3) == (kept, partners)


def test_a_fact_whose_layout_is_unique_has_no_placebo() -> None:
    batch = tiny.batch()[[0, 2]]
    assert wrong_subject(batch, batch) == ([], [])


def test_mistakes_and_models_that_ignore_edits_are_refused() -> None:
    batch = tiny.batch()
    rows = last_rows(tiny.both("gptj").hooked, batch)
    with pytest.raises(InterventionError, match="no effect"):
        pattern_transplant(tiny.both("gptj").hooked, batch, rows.values, tiny.tokenizer(), max_new_tokens=1)
    with pytest.raises(InputError, match=r"heads = \[4\]: choose from 0 to 3"):
        transplant_hooks(tiny.both("llama").hooked, batch, rows.values, heads=[4])


def test_rows_are_saved_with_their_model(tmp_path: Path) -> None:
    rows = last_rows(tiny.both("llama").hooked, tiny.batch())
    rows.save(tmp_path / "rows.safetensors")
    loaded = LastRows.load(tmp_path / "rows.safetensors")
    assert torch.equal(loaded.values, rows.values)
    loaded.require(tiny.both("llama").hooked)
