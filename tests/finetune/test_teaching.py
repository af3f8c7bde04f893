"""What the base says is held whole in a small vocabulary, and by its likeliest tokens in a large one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.checkpoints.loading import load_model
from finetune.data.prompts import render
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.training import mitigation_losses as teaching
from finetune.training.mitigation_losses import distillation_targets, divergence, with_rest_mass


def _random(seed: int, tokens: int = 40) -> torch.Tensor:
    made = torch.randn(3, 2, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (3 * made).log_softmax(-1)


REAL = torch.tensor([[True, True], [True, False], [True, True]])


def test_the_rest_has_what_the_kept_tokens_leave() -> None:
    says = _random(0)
    among = says.topk(5).indices
    made = with_rest_mass(says, among)
    assert made.shape == (3, 2, 6)
    torch.testing.assert_close(made.exp().sum(-1), torch.ones(3, 2, dtype=torch.float64))
    others = torch.ones_like(says, dtype=torch.bool).scatter(-1, among, False)
    rest = (says.exp() * others).sum(-1).log()
    torch.testing.assert_close(made[..., -1], rest)


def test_divergence_over_some_tokens_and_the_rest_grows_to_that_over_all() -> None:
    base, now = _random(1), _random(2)
    whole = divergence(base, now, REAL)
    order = base.sort(descending=True).indices
    parts = [
        divergence(with_rest_mass(base, order[..., :k]), with_rest_mass(now, order[..., :k]), REAL)
        for k in (1, 5, 20, 39)
    ]
    assert all(a <= b + 1e-12 for a, b in zip(parts, [*parts[1:], whole], strict=True)), "log-sum inequality"
    assert 0 < parts[0] < whole
    assert parts[-1] == pytest.approx(float(whole)), "one token is the rest"


def test_a_large_vocabulary_is_taught_by_its_likeliest_tokens(
    tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = make_world(WorldConfig(subjects=24, answers=4, relations=2), seed=0)[:6]
    book = world_phrasebook()
    known = [
        (render(book[f.relation].statements[0], f), render(book[f.relation].statements[1], f)) for f in facts
    ]
    known = [(a, replace(b, answers=a.answers)) for a, b in known]
    model, tokenizer = load_model(tiny_llama_dir)
    whole = distillation_targets(model, tokenizer, known)
    size = whole.log_probs.shape[-1]
    monkeypatch.setattr(teaching, "WORDS", 1)
    rows = torch.arange(len(known))

    def value(tokens: int) -> float:
        monkeypatch.setattr(teaching, "TOP", tokens)
        some = distillation_targets(model, tokenizer, known)
        assert some.log_probs.shape[-1] == tokens + 1
        return float(some.loss(model, rows).detach())

    assert float(whole.loss(model, rows).detach()) == pytest.approx(value(size - 1), abs=1e-5)
    assert value(8) <= float(whole.loss(model, rows).detach()) + 1e-6
    same = distillation_targets(model, tokenizer, [(a, a) for a, _ in known])
    loss = same.loss(model, rows)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
