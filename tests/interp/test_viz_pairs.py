"""Views of a pair's models show what the models compute, and nothing changes what they compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from finetune.common.errors import InputError
from interp import viz
from interp.measures.spans import encode
from interp.measures.value_readout import value_readout
from interp.models.load_pair import load_pair
from interp.models.pair import CheckpointPair
from tests.architectures import build

from .measuring_fixtures import ANSWERS, facts, prompts, tokenizer

FACT = 2  # a subject of three words


@pytest.fixture(scope="module")
def plain():
    models = [build("llama", len(tokenizer()), seed=seed) for seed in (0, 1)]
    for model in models:
        model.set_attn_implementation("eager")
    return models


@pytest.fixture(scope="module")
def pair() -> Iterator[CheckpointPair]:
    made = load_pair(*(build("llama", len(tokenizer()), seed=seed) for seed in (0, 1)), tokenizer=tokenizer())
    yield made
    made.close()


def attentions(model, batch) -> np.ndarray:
    with torch.no_grad():
        output = model(batch.input_ids, attention_mask=batch.attention_mask, output_attentions=True)
    return torch.stack(output.attentions, 1)[0].numpy()


def test_the_view_shows_both_models_patterns(pair, plain) -> None:
    prompt = prompts()[FACT]
    view = viz.attention_view(pair, prompt, heads=3)
    batch = encode(tokenizer(), [prompt])
    for name, model in zip(("base", "fine-tuned"), plain, strict=True):
        expected = attentions(model, batch)
        for i, at in enumerate(view.fact.heads):
            assert view.fact.patterns[name][i] == pytest.approx(expected[at], abs=1e-5)
    assert view.fact.tokens == tuple(batch.tokens(tokenizer())[0])
    assert view.fact.subject_tokens == tuple(batch.subject_mask[0].tolist())
    assert len(view.fact.heads) == 3


def test_a_fact_is_asked_in_its_relations_wording(pair) -> None:
    fact = facts().facts[FACT]
    assert fact.subject in viz.attention_view(pair, fact).fact.prompt


def test_text_is_coloured_by_the_last_tokens_attention(pair, plain) -> None:
    prompt = prompts()[FACT]
    view = viz.attention_text(pair, prompt)
    expected = attentions(plain[1], encode(tokenizer(), [prompt]))[:, :, -1]
    assert view.values["fine-tuned"][0] == pytest.approx(expected.mean((0, 1)), abs=1e-5)
    for row, name in zip(view.values["fine-tuned"][1:], view.choices[1:], strict=True):
        layer, head = map(int, name.removeprefix("L").split("H"))
        assert row == pytest.approx(expected[layer, head], abs=1e-5)


@pytest.mark.parametrize("kind", ["stored", "used"])
def test_the_subjects_tokens_add_up_to_the_value_readout(pair, kind) -> None:
    prompt = prompts()[FACT]
    view = viz.readout_text(pair, prompt, kind=kind, answer_sets=ANSWERS)
    with pair.finetuned() as model:
        batch = encode(tokenizer(), [prompt])
        whole = getattr(value_readout(model, batch, tokenizer(), ANSWERS), kind)[0]
    subject = view.values["fine-tuned"][:, list(view.subject)].sum(1)
    assert subject[0] == pytest.approx(float(whole.sum()), abs=1e-4)
    for total, name in zip(subject[1:], view.choices[1:], strict=True):
        layer, head = map(int, name.removeprefix("L").split("H"))
        assert total == pytest.approx(float(whole[layer, head]), abs=1e-4)


def test_two_answers_differ_alike_over_the_vocabulary_and_over_a_set(pair) -> None:
    batches = [
        encode(tokenizer(), [replace(prompts()[FACT], answers=(answer,))]) for answer in ("Aston", "Dover")
    ]
    with pair.finetuned() as model:
        plain, among = (
            [viz.token_readout(model, batch, pair, "used", sets) for batch in batches]
            for sets in (None, ANSWERS)
        )
    assert (plain[0] - plain[1]).numpy() == pytest.approx((among[0] - among[1]).numpy(), abs=1e-5)


def test_what_cannot_be_read_is_refused(pair) -> None:
    with pytest.raises(InputError, match="choose stored or used"):
        viz.readout_text(pair, prompts()[0], kind="kept")
    with pytest.raises(InputError, match="not in the answer set"):
        viz.readout_text(pair, prompts()[0], answer_sets={"born": ("Dover",)})
