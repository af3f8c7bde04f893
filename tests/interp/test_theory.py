"""The one-layer model's closed forms against automatic differentiation and against taken steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from finetune.common.errors import InputError
from interp.measures.theory import (
    OneLayer,
    TheoryExamples,
    attention,
    kq_steps,
    logits,
    loss,
    read_theory,
    step,
    untrained_model,
    v_steps,
    values,
)

SUBJECTS, PROMPTS, ANSWERS = 12, 3, 5
TOKENS = SUBJECTS + PROMPTS + ANSWERS


def made(width: int | None, seed: int = 0) -> tuple[OneLayer, TheoryExamples]:
    answers = list(range(SUBJECTS + PROMPTS, TOKENS))
    generator = torch.Generator().manual_seed(seed)
    examples = TheoryExamples(
        subject=torch.arange(SUBJECTS),
        prompt=SUBJECTS + torch.arange(SUBJECTS) % PROMPTS,
        answer=torch.randint(ANSWERS, (SUBJECTS,), generator=generator),
    )
    return untrained_model(TOKENS, answers, width=width, scale=0.5, seed=seed), examples


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("width", [None, 8])
def test_closed_forms_are_what_autograd_gives(width: int | None, seed: int) -> None:
    model, examples = made(width, seed)
    local, shared = kq_steps(model, examples)
    of_v = v_steps(model, examples)
    for i in range(len(examples)):
        w_kq, w_v = (w.clone().requires_grad_() for w in (model.w_kq, model.w_v))
        free = replace(model, w_kq=w_kq, w_v=w_v)
        loss(free, examples[[i]]).sum().backward()
        assert (-w_kq.grad - (local + shared)[i]).abs().max() <= 1e-10
        assert (-w_v.grad - of_v[i]).abs().max() <= 1e-10


def test_m_is_the_derivative_in_the_subjects_score() -> None:
    model, examples = made(None)
    scores = torch.zeros(len(examples), dtype=torch.float64, requires_grad=True)
    share = torch.sigmoid(attention(model, examples).logit() + scores)[:, None]
    given = share * values(model, examples.subject) + (1 - share) * values(model, examples.prompt)
    torch.nn.functional.cross_entropy(given, examples.answer, reduction="sum").backward()
    torch.testing.assert_close(read_theory(model, examples).m, -scores.grad, atol=1e-10, rtol=0)


def test_logits_are_a_plain_softmax_attention_over_two_tokens() -> None:
    model, examples = made(8)
    for i in range(len(examples)):
        keys = model.embed[torch.stack([examples.subject[i], examples.prompt[i]])]
        weights = (keys @ model.w_kq @ model.embed[examples.prompt[i]]).softmax(0)
        out = model.embed[model.answers] @ model.w_v @ (weights @ keys)
        torch.testing.assert_close(logits(model, examples)[i], out, atol=1e-12, rtol=0)


def predict_score_change(
    model: OneLayer, taught: TheoryExamples, asked: TheoryExamples, *, rate: float
) -> torch.Tensor:
    """Predict, to first order, how a step on each taught fact moves each asked one's score [taught, asked].

    It is rate m (phi(s) - phi(p))^T (phi(s') - phi(p')) (phi(p)^T phi(p')).
    """
    m = read_theory(model, taught).m
    ours, theirs = (model.embed[e.subject] - model.embed[e.prompt] for e in (taught, asked))
    shared = model.embed[taught.prompt] @ model.embed[asked.prompt].T
    return rate * m[:, None] * (ours @ theirs.T) * shared


@pytest.mark.parametrize("width", [None, 8])
def test_a_small_step_moves_scores_as_predicted(width: int | None) -> None:
    model, examples = made(width)
    rate = 1e-6
    predicted = predict_score_change(model, examples, examples, rate=rate)
    for i in range(len(examples)):
        after = step(model, examples[[i]], torch.ones(1, dtype=torch.float64), rate=rate, v=False)
        moved = attention(after, examples).logit() - attention(model, examples).logit()
        torch.testing.assert_close(predicted[i], moved, atol=1e-4 * rate, rtol=1e-3)


def test_with_orthonormal_embeddings_m_moves_every_subject_of_the_prompt_and_no_other() -> None:
    model, examples = made(None)
    m = read_theory(model, examples).m
    moved = predict_score_change(model, examples, examples, rate=1.0)
    same = examples.prompt[:, None] == examples.prompt[None]
    own = torch.eye(len(examples), dtype=torch.bool)
    expected = torch.where(own, 2 * m[:, None], torch.where(same, m[:, None], 0.0))
    torch.testing.assert_close(moved, expected, atol=1e-12, rtol=0)


def test_salience_grows_with_every_sighting_of_a_fact() -> None:
    model, examples = made(None)
    model = untrained_model(TOKENS, model.answers.tolist())
    one, weights = examples[[0]], torch.ones(1, dtype=torch.float64)
    seen = [float(read_theory(model, one).salience)]
    for _ in range(20):
        model = step(model, one, weights, rate=0.5)
        seen.append(float(read_theory(model, one).salience))
    assert all(b > a for a, b in pairwise(seen))


def test_a_step_on_several_facts_is_the_sum_of_theirs() -> None:
    model, examples = made(8)
    weights = torch.rand(len(examples), dtype=torch.float64)
    together = step(model, examples, weights, rate=0.1)
    local, shared = kq_steps(model, examples)
    torch.testing.assert_close(
        together.w_kq - model.w_kq, 0.1 * ((local + shared) * weights[:, None, None]).sum(0)
    )
    torch.testing.assert_close(
        together.w_v - model.w_v, 0.1 * (v_steps(model, examples) * weights[:, None, None]).sum(0)
    )


def test_answers_must_be_tokens() -> None:
    with pytest.raises(InputError, match="4 is not among the 4 tokens; choose from 0 to 3"):
        untrained_model(4, [2, 4])
    with pytest.raises(InputError, match="there are none; give some"):
        untrained_model(4, [])
    with pytest.raises(InputError, match=r"1\.5 is not among the 4 tokens"):
        untrained_model(4, [1.5])  # type: ignore[list-item]
    assert untrained_model(4, torch.tensor([1, 3])).answers.tolist() == [1, 3]
