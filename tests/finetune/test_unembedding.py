"""Logits of chosen positions and the packed loss, against a model's own whole ones."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.evaluation import unembedding
from finetune.evaluation.batching import IGNORED
from finetune.evaluation.unembedding import logits_at, pack_labels, packed_loss

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 90}
MODELS = {
    "llama": {**TINY, "intermediate_size": 32},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 90},
    "gpt_neox": {**TINY, "intermediate_size": 32},
    "gemma2": {**TINY, "intermediate_size": 32, "head_dim": 8, "num_key_value_heads": 1},
    "opt": {**TINY, "ffn_dim": 32, "word_embed_proj_dim": 16},
}


def _model(name):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **MODELS[name])).eval()


def _batch():
    ids = torch.randint(3, 90, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    labels = ids.masked_fill(mask == 0, IGNORED)
    labels[0, :3], labels[1, :5], labels[2, :2] = IGNORED, IGNORED, IGNORED
    return ids, mask, labels


@pytest.mark.parametrize("name", MODELS)
def test_logits_at_are_those_of_the_whole_pass(name):
    model, (ids, mask, _) = _model(name), _batch()
    position = torch.tensor([[4, 1], [0, 6], [3, 3]])
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask).logits
        found = logits_at(model, ids, mask, position)
        again = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(found, whole[torch.arange(3)[:, None], position])
    assert torch.equal(again, whole)  # the hook is gone


def test_a_head_that_is_no_module_has_its_logits_gathered_afterwards(monkeypatch):
    model, (ids, mask, _) = _model("llama"), _batch()
    position = torch.tensor([[4, 1], [0, 6], [3, 3]])
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(logits_at(model, ids, mask, position), whole[torch.arange(3)[:, None], position])


@pytest.mark.parametrize("name", MODELS)
def test_the_packed_loss_and_its_gradient_are_the_whole_ones(name, monkeypatch):
    monkeypatch.setattr(unembedding, "PACKED_FROM", 1)
    model, (ids, mask, labels) = _model(name), _batch()
    rows = []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda module, given, out: rows.append(out.shape[1]))
    found = []
    for packed in (False, True):
        model.zero_grad()
        if packed:
            with packed_loss(model):
                loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        else:
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert rows == [7, 6]  # the longest answer has five tokens, and one position stands behind it
    for whole, packed in zip(*found, strict=True):
        torch.testing.assert_close(packed, whole, atol=1e-5, rtol=1e-4)


def test_labels_are_packed_one_behind_the_positions_that_predict_them():
    labels = torch.tensor([[-100, -100, 5, 6], [-100, 7, -100, 8], [-100, -100, -100, -100]])
    position, packed = pack_labels(labels)
    assert packed.tolist() == [[-100, 5, 6], [-100, 7, 8], [-100, -100, -100]]
    assert position[:2, :2].tolist() == [[1, 2], [0, 2]]


def test_small_vocabularies_are_trained_as_they_were():
    model, (ids, mask, labels) = _model("llama"), _batch()
    with packed_loss(model):
        assert model(input_ids=ids, attention_mask=mask, labels=labels).logits.shape[1] == 7
