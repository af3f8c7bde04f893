"""Knockout against masked scores, one prompt at a time, and blocks that hold no attention."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from finetune.common.errors import InputError
from finetune.data.tokenization import tokenize_with_answer
from interp.measures.attention import BLOCKS, blocks, subject_attention
from interp.measures.decode import answer_tokens
from interp.models.edit_check import InterventionError
from interp.patching.attention_rows import mask_and_renormalise, scale_and_renormalise
from interp.patching.knockout import Block, KnockoutResult, knockout
from tests.interp import measuring_fixtures as tiny

NAMES = tiny.FEW


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_scored_as_the_plain_model_scores_them(name: str) -> None:
    batch, both, tokenizer = tiny.batch(), tiny.both(name), tiny.tokenizer()
    scores = tiny.answer_log_probs(both.hooked, batch, answer_tokens(tokenizer, batch))
    pairs = tokenize_with_answer(
        tokenizer, [p.text for p in batch.prompts], [p.answers[0] for p in batch.prompts]
    )
    assert {len(answer) for _, answer in pairs} >= {1, 2, 3}
    for score, (prompt, answer) in zip(scores, pairs, strict=True):
        ids = torch.tensor([[*prompt, *answer]])
        with torch.inference_mode():
            logp = both.plain(input_ids=ids).logits[0].log_softmax(-1)
        expected = sum(logp[len(prompt) - 1 + i, token] for i, token in enumerate(answer))
        assert score.item() == pytest.approx(float(expected), abs=2e-5)


def test_a_cut_is_a_score_of_minus_infinity() -> None:
    model, batch, tokenizer = tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer()
    fact = torch.arange(len(batch))
    choices: tuple[Block, ...] = ("subject", "relation", "bos")
    for block in choices:
        mask = blocks(batch)[block]

        def mask_scores(scores: torch.Tensor, hook: object, mask: torch.Tensor = mask) -> torch.Tensor:
            edited = scores.clone()
            row = edited[fact, :, batch.last]
            behind = torch.nn.functional.pad(mask, (0, row.shape[-1] - mask.shape[-1]))
            edited[fact, :, batch.last] = row.masked_fill(behind[:, None], -torch.inf)
            return edited

        hooks = [(f"blocks.{layer}.attn.hook_attn_scores", mask_scores) for layer in range(2)]
        expected = tiny.answer_log_probs(model, batch, answer_tokens(tokenizer, batch), hooks=hooks)
        result = knockout(model, batch, tokenizer, block=block)
        torch.testing.assert_close(result.knocked, expected, atol=1e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", get_args(Block))
def test_every_block_moves_the_answers_and_batching_does_not_matter(name: str, block: Block) -> None:
    model, batch, tokenizer = tiny.both(name).hooked, tiny.batch(), tiny.tokenizer()
    together = knockout(model, batch, tokenizer, block=block)
    alone = knockout(model, batch, tokenizer, block=block, batch_tokens=1)
    assert (together.change.abs() > 1e-4).float().mean() > 0.9
    torch.testing.assert_close(together.change, alone.change, atol=5e-5, rtol=0)


def test_layers_and_heads_choose_where_it_is_cut() -> None:
    model, batch, tokenizer = tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer()
    everywhere = knockout(model, batch, tokenizer)
    assert (everywhere.layers, everywhere.heads) == ((0, 1), (0, 1, 2, 3))
    named = knockout(model, batch, tokenizer, layers=range(2), heads=[3, 1, 0, 2])
    torch.testing.assert_close(named.knocked, everywhere.knocked)
    one = knockout(model, batch, tokenizer, layers=[1], heads=[2])
    assert not torch.allclose(one.knocked, everywhere.knocked)


def test_a_block_without_mass_changes_nothing() -> None:
    rows = torch.tensor([[[0.3, 0.7, 0.0]]])
    assert torch.equal(mask_and_renormalise(rows, torch.tensor([[[False, False, True]]])), rows)


def test_scaled_rows_add_up_to_one() -> None:
    rows = torch.tensor([[[0.2, 0.3, 0.5]]])
    more = scale_and_renormalise(rows, torch.tensor([[[True, False, False]]]), 2.0)
    torch.testing.assert_close(more, torch.tensor([[[0.4, 0.3, 0.5]]]) / 1.2)


def test_a_row_that_is_all_blocked_becomes_zero_not_nan() -> None:
    rows = torch.tensor([[[0.0, 1.0, 0.0]]])
    assert torch.equal(
        mask_and_renormalise(rows, torch.tensor([[[False, True, False]]])), torch.zeros(1, 1, 3)
    )


def test_blocks_partition_the_prompt_and_their_masses_add_up_to_one() -> None:
    batch = tiny.batch()
    assert set(BLOCKS) == set(get_args(Block))
    assert torch.equal(sum(m.long() for m in blocks(batch).values()), batch.attention_mask)
    mass = subject_attention(tiny.both("gpt2").hooked, batch)
    total = mass.raw + mass.bos + mass.relation + mass.rest
    torch.testing.assert_close(total, torch.ones_like(total))


def test_mistakes_name_the_setting() -> None:
    model, batch, tokenizer = tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer()
    with pytest.raises(InputError, match="block = 'object'"):
        knockout(model, batch, tokenizer, block="object")
    with pytest.raises(InputError, match=r"layers = \[2\]: choose from 0 to 1"):
        knockout(model, batch, tokenizer, layers=[2])
    with pytest.raises(InputError, match="heads"):
        knockout(model, batch, tokenizer, heads=[-1])


def test_a_model_that_ignores_edits_is_refused() -> None:
    with pytest.raises(InterventionError, match="no effect"):
        knockout(tiny.both("gptj").hooked, tiny.batch(), tiny.tokenizer())


def test_a_result_is_saved_with_its_settings(tmp_path: Path) -> None:
    result = knockout(tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer(), layers=[1])
    result.save(tmp_path / "knockout.safetensors")
    loaded = KnockoutResult.load(tmp_path / "knockout.safetensors")
    assert (loaded.block, loaded.layers, loaded.heads) == ("subject", (1,), (0, 1, 2, 3))
    assert loaded.to_frame().equals(result.to_frame())
