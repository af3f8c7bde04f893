"""The exact harm score against finite differences, and against the closed form where that is exact."""

from __future__ import annotations

import pytest
import torch

from interp.measures.attention import pattern_hooks
from interp.measures.decode import answer_tokens
from interp.measures.score_gradient import direct_path_score, harm_score
from interp.models.edit_check import InterventionError
from tests.interp import measuring_fixtures as tiny
from tests.interp.test_salience import one_layer


def test_on_one_attention_layer_it_is_the_harm_score_of_every_head() -> None:
    model, batch, tokenizer = one_layer(), tiny.batch(), tiny.tokenizer()
    exact = harm_score(model, batch, tokenizer).per_head
    closed = direct_path_score(model, batch, tokenizer)
    assert exact.abs().max() > 1e-3
    torch.testing.assert_close(exact, closed, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_in_a_deep_model_it_is_the_slope_of_the_loss_in_one_heads_scores(name: str) -> None:
    model, batch, tokenizer = tiny.both(name).hooked, tiny.batch(), tiny.tokenizer()
    answers = torch.tensor([ids[0] for ids in answer_tokens(tokenizer, batch)])
    fact, head, by = torch.arange(len(batch)), 1, 0.03
    for layer, hook in pattern_hooks(model):
        gained = []
        for shift in (by, -by):

            def raise_scores(pattern: torch.Tensor, hook: object, shift: float = shift) -> torch.Tensor:
                edited = pattern.clone()
                row = pattern[fact, head, batch.last].clamp_min(1e-30).log()
                edited[fact, head, batch.last] = (row + shift * batch.subject_mask).softmax(-1)
                return edited

            with torch.inference_mode():
                logits = model.run_with_hooks(
                    batch.input_ids, attention_mask=batch.attention_mask, fwd_hooks=[(hook, raise_scores)]
                )
            gained.append(logits[fact, batch.last].double().log_softmax(-1)[fact, answers])
        slope = (gained[0] - gained[1]) / (2 * by)
        exact = harm_score(model, batch, tokenizer).per_head[:, layer, head].double()
        torch.testing.assert_close(exact, slope, atol=5e-5, rtol=5e-2)


def test_chunks_do_not_matter() -> None:
    model, batch, tokenizer = tiny.both("llama").hooked, tiny.batch(), tiny.tokenizer()
    whole, parts = (harm_score(model, batch, tokenizer, batch_tokens=n).per_head for n in (8192, 1))
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_a_model_that_ignores_edits_is_refused() -> None:
    """Its loss would not move with the shift, and every score would be a silent zero."""
    with pytest.raises(InterventionError, match="have no effect"):
        harm_score(tiny.both("gptj").hooked, tiny.batch(), tiny.tokenizer())
