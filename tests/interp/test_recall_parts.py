"""Recall's parts: they add up to the logit difference, and each is what a plain cache says it is."""

from __future__ import annotations

import pytest
import torch

from finetune.common.errors import InputError
from interp.measures.answer_sets import answer_sets_of
from interp.measures.head_readers import through_norm
from interp.measures.recall_parts import LAYERWISE, RecallParts, recall_parts
from tests.architectures import ARCHITECTURES
from tests.interp import measuring_fixtures as tiny


def _measured(name: str, **options: int) -> RecallParts:
    return recall_parts(tiny.both(name).hooked, tiny.batch(), tiny.tokenizer(), tiny.ANSWERS, **options)


def _plain_differences(name: str) -> torch.Tensor:
    """Take the difference from the plain model's own logits, one unpadded prompt at a time."""
    batch, plain = tiny.batch(), tiny.both(name).plain
    sets = answer_sets_of(tiny.tokenizer(), batch, tiny.ANSWERS, "first")
    found = []
    for i, prompt in enumerate(batch.prompts):
        n, each = int(batch.last[i]) + 1, sets[prompt.relation]
        with torch.inference_mode():
            logits = plain(input_ids=batch.input_ids[i : i + 1, :n]).logits[0, -1][each.first_tokens]
        found.append(logits[each.place[prompt.answers[0]]] - logits.mean())
    return torch.stack(found)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_parts_add_up_to_the_logit_difference(name: str) -> None:
    parts = _measured(name)
    total = parts.embedding + parts.constant + sum(getattr(parts, each).sum(1) for each in LAYERWISE)
    torch.testing.assert_close(total, parts.logit_difference, atol=1e-4, rtol=0)
    assert parts.extraction.abs().max() > 1e-3
    capped_or_scaled = {"gemma2", "granite"}  # after the unembedding, which is what is attributed
    if name not in capped_or_scaled:
        torch.testing.assert_close(parts.logit_difference, _plain_differences(name), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_what_is_left_to_the_mlps_is_what_they_write(name: str) -> None:
    """The MLPs' part is a remainder; here it is their own output, read along the answer's direction."""
    model, batch, parts = tiny.both(name).hooked, tiny.batch(), _measured(name)
    sets = answer_sets_of(tiny.tokenizer(), batch, tiny.ANSWERS, "first")
    names = [f"blocks.{layer}.hook_mlp_out" for layer in range(model.cfg.n_layers)]
    with torch.inference_mode():
        _, cache = model.run_with_cache(
            batch.input_ids, attention_mask=batch.attention_mask, names_filter=[*names, "ln_final.hook_scale"]
        )
        fact = torch.arange(len(batch))
        scale = cache["ln_final.hook_scale"][fact, batch.last, 0]
        for i, prompt in enumerate(batch.prompts):
            rows = sets[prompt.relation].directions(model)
            along = through_norm(
                model.ln_final, (rows[sets[prompt.relation].place[prompt.answers[0]]] - rows.mean(0))[None]
            )[0]
            wrote = torch.stack([cache[each][i, batch.last[i]] @ along for each in names]) / scale[i]
            torch.testing.assert_close(parts.mlp[i], wrote, atol=1e-4, rtol=0)


def test_the_last_depth_is_the_logits_and_says_whether_the_answer_surfaces() -> None:
    parts = _measured("llama")
    batch, model = tiny.batch(), tiny.both("llama").hooked
    sets = answer_sets_of(tiny.tokenizer(), batch, tiny.ANSWERS, "first")
    with torch.inference_mode():
        logits = model(batch.input_ids, attention_mask=batch.attention_mask)
    for i, prompt in enumerate(batch.prompts):
        each = sets[prompt.relation]
        of_set = logits[i, batch.last[i]][each.first_tokens]
        right = int(of_set.argmax()) == each.place[prompt.answers[0]]
        assert (parts.surfaces[i] >= 0) == right
        at = int(batch.subject_mask[i].nonzero().max())
        subject = logits[i, at][each.first_tokens]
        expected = subject[each.place[prompt.answers[0]]] - subject.mean()
        torch.testing.assert_close(parts.enrichment[i, -1], expected, atol=1e-4, rtol=0)
    assert (parts.surfaces >= 0).any()


def test_chunks_do_not_matter_and_frames_have_a_row_for_each(tmp_path) -> None:
    whole, chunked = _measured("llama"), _measured("llama", batch_tokens=20)
    torch.testing.assert_close(chunked.mlp, whole.mlp, atol=1e-5, rtol=0)
    whole.save(tmp_path / "parts.safetensors")
    loaded = RecallParts.load(tmp_path / "parts.safetensors")
    assert loaded.to_frame().equals(whole.to_frame())
    assert len(whole.to_frame()) == whole.mlp.numel()
    frame = whole.facts_frame()
    total = frame[["extraction", "attention_elsewhere", "mlp", "embedding", "constant"]].sum(axis=1)
    assert total.to_numpy() == pytest.approx(frame["logit_difference"].to_numpy(), abs=1e-4)


def test_an_answer_outside_its_set_is_refused() -> None:
    with pytest.raises(InputError, match="is not in the answer set"):
        recall_parts(
            tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer(), tiny.ANSWERS | {"born": ("Bury",)}
        )
