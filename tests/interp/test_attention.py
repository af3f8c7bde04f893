"""Attention mass against Hugging Face's own attention weights, with right padding in the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from finetune.data.prompts import Prompt
from interp.measures import attention
from interp.measures.attention import (
    AttentionMass,
    blocks,
    full_patterns,
    last_row_patterns,
    last_token_logits,
    subject_attention,
    subject_rank,
)
from interp.measures.spans import PromptBatch, encode
from interp.patching.positions import keys, positions
from tests.architectures import ARCHITECTURES
from tests.interp import measuring_fixtures as tiny

NAMES = tiny.FEW


def _reference(name: str) -> torch.Tensor:
    """Return HF's attention of each prompt's last token, one prompt at a time and unpadded."""
    batch, plain = tiny.batch(), tiny.both(name).plain
    width = batch.input_ids.shape[1]
    rows = []
    for i in range(len(batch)):
        n = int(batch.last[i]) + 1
        with torch.inference_mode():
            attentions = plain(input_ids=batch.input_ids[i : i + 1, :n], output_attentions=True).attentions
        last = torch.stack([a[0, :, -1] for a in attentions])
        rows.append(torch.nn.functional.pad(last, (0, width - n)))
    return torch.stack(rows)


@pytest.mark.parametrize("name", NAMES)
def test_masses_are_sums_of_the_plain_models_attention(name: str) -> None:
    batch, rows = tiny.batch(), _reference(name)
    assert len(set(batch.last.tolist())) > 1, "the batch must be padded for this test to mean anything"
    mass = subject_attention(tiny.both(name).hooked, batch)

    def summed(mask: torch.Tensor) -> torch.Tensor:
        return (rows * mask[:, None, None]).sum(-1)

    subject, bos = summed(batch.subject_mask), summed(batch.special_mask)
    torch.testing.assert_close(mass.raw, subject, atol=1e-5, rtol=0)
    torch.testing.assert_close(mass.values, subject / (1 - bos), atol=1e-4, rtol=0)
    torch.testing.assert_close(mass.relation, summed(batch.relation_mask), atol=1e-5, rtol=0)
    assert mass.raw.std() > 0.01
    assert mass.fact_ids == batch.fact_ids


@pytest.mark.parametrize("name", NAMES)
def test_the_masses_partition_the_row(name: str) -> None:
    """Roles are disjoint and cover the prompt, so their masses add up to one."""
    batch, rows = tiny.batch(), _reference(name)
    roles = [batch.subject_mask, batch.special_mask, batch.relation_mask, batch.last_mask]
    assert torch.equal(sum(r.long() for r in roles), batch.attention_mask)
    torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_tokens", [1, 25, 60])
def test_chunking_does_not_change_values(name: str, batch_tokens: int) -> None:
    model, batch = tiny.both(name).hooked, tiny.batch()
    whole, chunked = (
        subject_attention(model, batch),
        subject_attention(model, batch, batch_tokens=batch_tokens),
    )
    torch.testing.assert_close(chunked.values, whole.values, atol=1e-6, rtol=0)
    torch.testing.assert_close(chunked.raw, whole.raw, atol=1e-5, rtol=0)


def _hooks(model: TransformerBridge) -> dict[str, int]:
    return {name: len(point.fwd_hooks) for name, point in model.hook_dict.items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stopping_at_the_last_pattern_loses_none_and_leaves_the_model_as_it_was(name: str) -> None:
    model, batch = tiny.both(name).hooked, tiny.batch()
    before, hooks = last_token_logits(model, batch, []), _hooks(model)
    rows, whole = last_row_patterns(model, batch), full_patterns(model, batch)
    assert torch.equal(rows, whole[torch.arange(len(batch)), ..., batch.last, :])
    assert torch.equal(last_token_logits(model, batch, []), before)
    assert _hooks(model) == hooks


@pytest.mark.parametrize("name", NAMES)
def test_full_patterns_are_the_plain_models(name: str) -> None:
    one = tiny.batch()[[3]]
    pattern = full_patterns(tiny.both(name).hooked, one)[0]
    with torch.inference_mode():
        expected = tiny.both(name).plain(input_ids=one.input_ids, output_attentions=True).attentions
    torch.testing.assert_close(pattern, torch.stack(expected)[:, 0], atol=1e-5, rtol=0)


def test_frame_has_a_row_for_every_fact_layer_and_head() -> None:
    mass = subject_attention(tiny.both("llama").hooked, tiny.batch())
    frame = mass.to_frame()
    assert len(frame) == mass.values.numel()
    row = frame[(frame.fact_id == "plays3") & (frame.layer == 1) & (frame["head"] == 2)]
    assert row["subject"].item() == pytest.approx(mass.values[mass.fact_ids.index("plays3"), 1, 2].item())


def test_what_is_saved_is_what_is_loaded(tmp_path) -> None:
    mass = subject_attention(tiny.both("llama").hooked, tiny.batch())
    mass.save(tmp_path / "mass.safetensors")
    loaded = AttentionMass.load(tmp_path / "mass.safetensors")
    assert loaded.fact_ids == mass.fact_ids
    assert torch.equal(loaded.values, mass.values)
    assert torch.equal(loaded.raw, mass.raw)


def test_no_pass_is_larger_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """So memory is set by ``batch_tokens``, however many prompts there are."""
    sizes = []

    def measured(model: TransformerBridge, chunk: PromptBatch) -> torch.Tensor:
        sizes.append(chunk.input_ids.numel())
        return last_row_patterns(model, chunk)

    monkeypatch.setattr(attention, "last_row_patterns", measured)
    subject_attention(tiny.both("llama").hooked, tiny.batch(), batch_tokens=30)
    assert max(sizes) <= 30
    assert sum(sizes) >= tiny.batch().attention_mask.sum()


def _without_bos(batch: PromptBatch) -> PromptBatch:
    """Take the BOS in front of every prompt away, as tokenizers without one leave it."""
    names = ("input_ids", "attention_mask", "subject_mask", "special_mask", "word")
    return replace(batch, **{name: getattr(batch, name)[:, 1:] for name in names}, last=batch.last - 1)


def test_the_first_token_is_a_sink_whatever_it_is() -> None:
    """Without BOS the first word is left out, the rest renormalised; a subject there cannot be measured."""
    model, batch = tiny.both("llama").hooked, _without_bos(tiny.batch())
    mass, rows = subject_attention(model, batch), last_row_patterns(model, batch)
    begins = batch.subject_mask[:, 0]
    assert begins.any()
    assert not begins.all()
    assert mass.sunk == tuple(i for i, sunk in zip(batch.fact_ids, begins.tolist(), strict=True) if sunk)
    assert mass.values[begins].isnan().all()
    assert (mass.rank[begins] == -1).all()
    raw = (rows * batch.subject_mask[:, None, None]).sum(-1)[~begins]
    torch.testing.assert_close(mass.raw[~begins], raw)
    torch.testing.assert_close(mass.values[~begins], raw / (1 - rows[~begins, ..., 0]), atol=1e-5, rtol=1e-4)
    assert not blocks(batch)["relation"][:, 0].any()
    assert blocks(batch)["bos"][:, 0].all()


def test_the_rank_counts_words_that_draw_more_than_the_subject(tiny_tokenizer, prompts) -> None:
    batch = encode(tiny_tokenizer, prompts)
    rows = torch.rand(len(batch), 1, 1, batch.input_ids.shape[1], generator=torch.Generator().manual_seed(0))
    ranks = subject_rank(rows, batch)[:, 0, 0].tolist()
    assert len(set(ranks)) > 2
    for i, pieces in enumerate(batch.tokens(tiny_tokenizer)):
        subject = batch.subject_mask[i].tolist()
        words: dict[tuple[bool, int], float] = {}
        number = 0
        for k, text in enumerate(pieces[1:], 1):  # BOS aside
            number += text.startswith(" ") or (subject[k] != subject[k - 1])
            words[subject[k], number] = words.get((subject[k], number), 0.0) + float(rows[i, 0, 0, k])
        most = max(value for (here, _), value in words.items() if here)
        assert ranks[i] == sum(value > most for (here, _), value in words.items() if not here)


def test_repeats_of_the_first_token_are_sinks_as_well(tiny_tokenizer) -> None:
    prompt = Prompt(text="!!! Ada !", subject=(4, 7), answers=("Paris",))
    batch = encode(tiny_tokenizer, [prompt])
    batch = replace(_without_bos(batch), prompts=(prompt,))
    pieces = batch.tokens(tiny_tokenizer)[0]
    run = next(k for k, piece in enumerate(pieces) if piece != pieces[0])
    assert run == 3
    assert batch.sink_mask[0].tolist() == [k < run for k in range(len(pieces))]


@pytest.mark.parametrize("role", ["subject", "relation", "rest"])
def test_edits_of_attention_leave_the_first_token_alone(role: str) -> None:
    batch = _without_bos(tiny.batch())
    assert not keys(batch, role)[:, 0].any()
    assert keys(batch, "bos")[:, 0].all()
    assert torch.equal(
        positions(batch, "subject"), batch.subject_mask
    )  # of the residual stream it is a place
