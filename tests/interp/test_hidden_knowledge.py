"""Hidden knowledge: K by counting pairs, probes that never met a fact's kin, and transformers' own scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.checkpoints.loading import load_model
from finetune.data.prompts import Prompt, render
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from interp.measures.answer_probe import (
    draw_answers,
    other_subjects,
    probe_folds,
    probe_scores,
    score_answers,
)
from interp.measures.hidden_knowledge import WRONG, hidden_knowledge, knowledge, recognition
from interp.models.load_pair import load_pair
from tests.architectures import build

BOOK = world_phrasebook()


def test_another_name_that_a_probe_has_not_met_is_scored_at_chance_where_there_is_nothing_to_learn() -> None:
    n, answers, inside, outside = 60, 10, [], []
    facts = [
        Prompt(text=f"s{i} is", subject=(0, len(f"s{i}")), answers=(f"a{i}",), relation="r", fact_id=str(i))
        for i in range(n)
    ]
    subjects, groups = np.array([f"s{i}" for i in range(n)]), (np.zeros(n, int), np.ones(n, bool))
    swap = [1, 0, *range(2, answers)]  # what is right of the one is wrong of the other
    for seed in range(12):
        rng = np.random.default_rng(seed)
        noise, folds = rng.normal(size=(n, answers, 200)), probe_folds(subjects, seed=seed)
        met = [int(rng.choice(np.flatnonzero(folds != fold))) for fold in folds]
        for others, told in ((other_subjects(facts, folds, seed=seed), inside), (met, outside)):
            scores = probe_scores(noise, noise[others][:, swap], groups[0], subjects, groups[1], seed=seed)
            told.append(recognition(scores).mean())
    error = np.std(inside) / np.sqrt(len(inside))
    assert abs(np.mean(inside)) < 3 * error
    assert np.mean(outside) < np.mean(inside) - 3 * error, "taught that these rows are wrong"


def test_k_is_the_share_of_pairs_ranked_right() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (50, 5)).astype(float)
    scores[0, 3] = np.nan
    k, star = knowledge(scores)
    assert np.isnan([k[0], star[0]]).all()
    for row, share, all_right in zip(scores[1:], k[1:], star[1:], strict=True):
        pairs = [1.0 if row[0] > wrong else 0.5 if row[0] == wrong else 0.0 for wrong in row[1:]]
        assert share == pytest.approx(np.mean(pairs))
        assert all_right == (min(pairs) == 1)


def planted(facts: int = 240, answers: int = 5, d: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features whose first direction says *right*, whatever the relation."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(facts, answers, d))
    features[:, 0, 0] += 5
    return features, np.arange(facts) % 4, np.arange(facts) % 60


def test_a_probe_finds_what_is_shared_and_permuted_labels_nothing() -> None:
    features, relations, subjects = planted()
    usable = np.ones(len(features), bool)
    found = probe_scores(features, features, relations, subjects, usable)
    assert knowledge(found)[0].mean() > 0.95
    permuted = probe_scores(features, features, relations, subjects, usable, permuted=True)
    assert abs(knowledge(permuted)[0].mean() - 0.5) < 0.15


def test_probes_never_meet_the_relation_or_the_subject_that_they_score() -> None:
    """What says *right* within one relation only, or of one subject only, tells nothing."""
    features, relations, subjects = planted()
    features[:, 0, 0] -= 5
    usable = np.ones(len(features), bool)
    for member in (relations, subjects):
        own = np.zeros((*features.shape[:2], int(member.max()) + 1))
        own[:, 0] = 9 * np.eye(int(member.max()) + 1)[member]
        leaky = np.concatenate([features, own], axis=2)
        found = probe_scores(leaky, leaky, relations, subjects, usable)
        assert abs(knowledge(found)[0].mean() - 0.5) < 0.15
    alone = probe_scores(features, features, np.zeros_like(relations), subjects, usable)
    assert np.isfinite(alone).all(), "with one relation, other subjects serve"
    assert np.isnan(probe_scores(features, features, relations, subjects, ~usable)).all()


def test_recognition_is_the_right_score_less_the_mean_of_what_is_there() -> None:
    scores = np.random.default_rng(0).normal(size=(40, 6))
    scores[:20, 4:] = np.nan
    scores[0, 1:], scores[1, 0] = np.nan, np.nan
    found = recognition(scores)
    assert np.isnan(found[:2]).all()
    for row, value in zip(scores[2:].tolist(), found[2:].tolist(), strict=True):
        wrong = [score for score in row[1:] if score == score]
        assert value == pytest.approx(row[0] - sum(wrong) / len(wrong))


def test_answers_that_are_not_there_are_neither_trained_on_nor_scored() -> None:
    features, relations, subjects = planted()
    usable = np.ones(len(features), bool)
    fewer = features.copy()
    fewer[:, 4] = np.nan
    found = probe_scores(fewer, fewer, relations, subjects, usable)
    assert np.isnan(found[:, 4]).all()
    fewer[:, 2:] = np.nan
    permuted = probe_scores(fewer, fewer, relations, subjects, usable, permuted=True)
    assert np.isfinite(permuted[:, :2]).all(), "labels are permuted among the answers that are there"
    assert np.array_equal(
        found[:, :4], probe_scores(features[:, :4], features[:, :4], relations, subjects, usable)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    facts = make_world(WorldConfig(subjects=30, answers=8, relations=2), seed=0)
    folder = tmp_path_factory.mktemp("model")
    tokenizer = word_tokenizer(facts, BOOK)
    build("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_answers_are_scored_as_transformers_does_and_frames_have_all_controls(folder: Path) -> None:
    facts = make_world(WorldConfig(subjects=30, answers=8, relations=2), seed=0)
    prompts = [render(BOOK[fact.relation].asked, fact) for fact in facts]
    sets = {relation: facts.answer_set(relation) for relation in facts.relations}
    answers = draw_answers(prompts, sets, wrong=WRONG)
    for prompt, some in zip(prompts, answers, strict=True):
        assert some[0] == prompt.answers[0]
        assert len(set(some)) == 1 + WRONG
    for i, k in enumerate(other_subjects(prompts)):
        assert prompts[k].relation == prompts[i].relation
        assert prompts[k].answers != prompts[i].answers
    halves = np.arange(len(prompts)) % 2
    others = np.array(other_subjects(prompts, halves))
    assert (halves[others] == halves).all(), "scored by the probe that scores the fact"
    assert (others != np.arange(len(prompts))).all()
    alone = other_subjects(prompts, np.arange(len(prompts)))
    assert alone == list(range(len(prompts))), "where its part has no other one"
    pair = load_pair(folder, folder)
    with pair.base() as model:
        scores, residual = score_answers(model, pair.tokenizer, prompts, answers, batch_tokens=200)
        table = hidden_knowledge(model, pair.tokenizer, prompts, sets, np.ones(len(prompts), bool))
    plain, tokenizer = load_model(str(folder))
    for i in (0, 7):
        for k in range(1 + WRONG):
            head = tokenizer(prompts[i].text)["input_ids"]
            ids = tokenizer(f"{prompts[i].text} {answers[i][k]}")["input_ids"]
            with torch.inference_mode():
                out = plain(torch.tensor([ids]), output_hidden_states=True)
            steps = out.logits[0].log_softmax(-1)
            expected = sum(float(steps[at - 1, ids[at]]) for at in range(len(head), len(ids)))
            assert scores[i, k] == pytest.approx(expected, abs=1e-4)
            layer = max(1, round(2 * plain.config.num_hidden_layers / 3))
            torch.testing.assert_close(
                torch.tensor(residual[i, k]), out.hidden_states[layer][0, -1], atol=1e-4, rtol=1e-3
            )
    assert table["fact_id"].tolist() == [prompt.fact_id for prompt in prompts]
    assert np.allclose(table["k_external"], knowledge(scores)[0])
    names = ("external", "external_swapped", "internal", "internal_permuted", "internal_swapped")
    assert {f"k_{name}" for name in names} | {f"k_star_{name}" for name in names} < set(table.columns)
    assert table["k_internal"].between(0, 1).all()
    # Of eight answers only seven are wrong: the rest of the twenty is not there.
    assert table[["recognition", "recognition_swapped"]].notna().all(axis=None)
