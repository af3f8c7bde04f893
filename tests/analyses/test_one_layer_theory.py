"""The one-layer theory's experiment: trained models against identities, deep steps against autograd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from analyses.experiments.one_layer_theory import toy_model
from analyses.experiments.one_layer_theory.cells import cells
from analyses.experiments.one_layer_theory.experiment import EXPERIMENT
from analyses.experiments.one_layer_theory.options import OneLayerTheoryOptions
from analyses.experiments.one_layer_theory.single_steps import (
    exact_subject_mass,
    gradient_step,
    load_exact,
    step_effects,
    weights_of,
)
from analyses.experiments.one_layer_theory.toy_model import (
    Shape,
    finetune,
    gradient_gap,
    make_tokens,
    pretrain,
    saliences,
    untrained_toy_model,
)
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.training.examples import answer_examples
from interp.measures.attention import subject_attention
from interp.measures.spans import encode
from interp.measures.theory import attention, read_theory
from interp.models.load_pair import load_pair

SHAPE = Shape(subjects=30, relations=2, answers=5, width=24, sightings=300, tune_steps=30)


def test_tokens_are_told_apart_and_questions_share_the_wanted_direction() -> None:
    world = make_tokens(SHAPE, seed=1)
    model = untrained_toy_model(SHAPE, "random", seed=1)
    used = [set(e.tolist()) for e in (world.stated.subject, world.stated.prompt, world.asked.prompt)]
    used.append(set(model.answers.tolist()))
    assert sum(map(len, used)) == len(set.union(*used)) == SHAPE.tokens
    assert world.facts[3].relation == "r1"
    assert world.asked.prompt[3] == world.stated.prompt[3] + SHAPE.relations
    torch.testing.assert_close(model.embed.norm(dim=1), torch.ones(SHAPE.tokens, dtype=torch.float64))
    s, q = model.embed[world.stated.prompt], model.embed[world.asked.prompt]
    torch.testing.assert_close((s * q).sum(1), torch.full((60,), SHAPE.shared, dtype=torch.float64))
    assert world.rows(world.facts.subset([7, 2])).tolist() == [7, 2]


def test_an_orthonormal_sighting_always_raises_its_facts_salience_and_no_other_subjects() -> None:
    world = make_tokens(SHAPE, seed=0)
    model, seen = pretrain(untrained_toy_model(SHAPE, "orthonormal", seed=0), world, seed=0)
    met = seen["sightings"] > 0
    assert seen["sightings"].sum() == SHAPE.sightings
    assert (seen["rose"][met] == 1).all()
    assert np.nanmax(seen["rose_elsewhere"]) == 0
    torch.testing.assert_close(
        torch.from_numpy(saliences(model, world.stated)), read_theory(model, world.stated).salience
    )


def test_the_gap_to_autograd_is_rounding_and_a_wrong_gradient_would_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_tokens(SHAPE, seed=0)
    model, _ = pretrain(untrained_toy_model(SHAPE, "random", seed=0), world, seed=0)
    assert gradient_gap(model, world.asked) <= 1e-10
    right = toy_model.v_steps
    monkeypatch.setattr(toy_model, "v_steps", lambda *given: right(*given) * (1 + 1e-6))
    assert gradient_gap(model, world.asked) > 1e-10


@pytest.mark.parametrize("v", [False, True])
def test_untrained_subjects_scores_move_by_the_sum_of_m(v: bool) -> None:
    """With orthonormal embeddings each step moves every untrained subject's score by rate x mean m."""
    world = make_tokens(SHAPE, seed=2)
    model, _ = pretrain(untrained_toy_model(SHAPE, "orthonormal", seed=2), world, seed=2)
    taught = world.asked[[i for i, s in enumerate(world.asked.subject.tolist()) if s % 2]]
    held = world.asked[[i for i, s in enumerate(world.asked.subject.tolist()) if s % 2 == 0]]
    tuned, m = finetune(model, taught, SHAPE, v=v)
    assert m.shape == (SHAPE.tune_steps, len(taught))
    same = (held.prompt[:, None] == taught.prompt[None]).double()
    expected = SHAPE.tune_rate * same @ m.sum(0) / len(taught)
    moved = attention(tuned, held).logit() - attention(model, held).logit()
    torch.testing.assert_close(moved, expected, atol=1e-10, rtol=0)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theory")
    options = OneLayerTheoryOptions(
        out=folder / "run",
        world="tiny",
        seeds=(0,),
        cache=folder / "cache",
        placebo=True,
        workers=1,
        quiet=True,
    )
    return EXPERIMENT.run(options)


def test_a_run_leaves_its_claims_and_numbers(out: Path) -> None:
    results = read_json(out / "results.json")
    gap = results["gradient"]["max_abs_diff"]
    assert 0 < gap["value"] <= 1e-10
    frame = pd.read_parquet(out / "facts.parquet")
    assert set(frame["kind"]) == {"gradient", "fact", "step", "run", "deep"}
    assert len(set(frame.loc[frame["kind"] == "run", "arm"])) == 6, "the placebo's halves are tuned on, too"
    claims = {claim["claim"]: claim for claim in read_json(out / "claims.json")}
    assert sum("(deep" in name for name in claims) == 21
    assert all(set(claim["number"]) == {"value", "low", "high", "n"} for claim in claims.values())
    assert (out / "figures" / "deep-steps.png").is_file()
    assert read_json(out / "manifest.json")["finished"]


def test_numbers_can_be_computed_again_from_the_rows(out: Path) -> None:
    frame, results = pd.read_parquet(out / "facts.parquet"), read_json(out / "results.json")
    small = frame[frame["part"] == "random"]
    steps = small[small["kind"] == "step"]
    number = results["random"]["step"]["rank_untrained"]["value"]
    assert number == pytest.approx(stats.spearmanr(steps["m"], steps["untrained"]).statistic)
    runs = small[(small["kind"] == "run") & (small["trained"] == "W_KQ")]
    halves = runs[runs["arm"].isin(["top", "bottom"])].groupby("arm")["change"].mean()
    contrast = results["random"]["runs"]["W_KQ"]["contrasts"]["top_minus_bottom"]["change"]["value"]
    assert contrast == pytest.approx(halves["top"] - halves["bottom"])
    deep = frame[(frame["part"] == "deep") & (frame["stepped"] == "W_Q and W_K") & (frame["head"] >= 0)]
    by_head = [
        stats.spearmanr(some["m"], some["own"]).statistic for _, some in deep.groupby(["layer", "head"])
    ]
    number = results["deep"]["W_Q_and_W_K"]["own"]["heads_rank_m"]["value"]
    assert number == pytest.approx(np.mean(by_head))


def test_the_whole_row_is_the_sum_of_m_and_the_mean_change_over_heads(out: Path) -> None:
    frame = pd.read_parquet(out / "facts.parquet")
    deep = frame[(frame["part"] == "deep") & (frame["stepped"] == "all weights")].set_index("fact_id")
    whole, heads = deep[deep["head"] == -1], deep[deep["head"] >= 0].groupby("fact_id")
    assert len(whole) == 12
    np.testing.assert_allclose(whole["m"], heads["m"].sum()[whole.index], atol=1e-6)
    np.testing.assert_allclose(whole["untrained"], heads["untrained"].mean()[whole.index], atol=1e-9)
    assert set(whole["m_other"]) == set(whole["m"])


@pytest.fixture(scope="module")
def base(out: Path) -> Path:
    (found,) = (p for p in (out.parent / "cache" / "bases").iterdir() if (p / "config.json").is_file())
    return found


# Steps that leave the tangent as little as float32 patterns allow: W_Q and W_K alone move attention less.
@pytest.mark.parametrize(("query_key", "rate"), [(False, 1e-5), (True, 1e-3)])
def test_a_taken_step_is_what_the_chain_rule_says(base: Path, query_key: bool, rate: float) -> None:
    """d mass / d rate at 0 is minus the mass's gradient times the loss's."""
    from analyses.common.training_setup import setting_for

    setting = setting_for(OneLayerTheoryOptions(world="tiny"), None, 0)
    asked = [_asked(setting, i) for i in (0, 50, 101)]
    model, tokenizer = load_exact(base)
    mass = exact_subject_mass(model, encode(tokenizer, asked))
    with load_pair(str(base)).finetuned() as hooked:
        torch.testing.assert_close(
            mass.float(), subject_attention(hooked, encode(tokenizer, asked)).raw, atol=1e-5, rtol=1e-4
        )
    moved = step_effects(model, tokenizer, asked[:1], [asked[1:]], query_key=query_key, rate=rate)
    torch.testing.assert_close(
        exact_subject_mass(model, encode(tokenizer, asked)), mass, msg="a step was not undone"
    )
    weights = weights_of(model, query_key=query_key)
    assert (len(weights) == 4) == query_key, "two layers of W_Q and W_K"
    row = answer_examples(tokenizer, asked[:1], rows=1).collate([0])
    of_loss = torch.autograd.grad(model(**row, use_cache=False).loss, weights)
    batch = encode(tokenizer, asked)
    attended = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_attentions=True
    ).attentions
    for layer, given in enumerate(attended):
        for head in range(given.shape[1]):
            parts = [given[i, head, batch.last[i]][batch.subject_mask[i]].sum() for i in range(len(asked))]
            slopes = []
            for part in parts:
                of_mass = torch.autograd.grad(part, weights, retain_graph=True, allow_unused=True)
                products = [(a * b).sum() for a, b in zip(of_loss, of_mass, strict=True) if b is not None]
                slopes.append(-float(sum(products)))
            assert moved.own[0, layer, head] == pytest.approx(slopes[0], rel=2e-2, abs=2e-7 / rate)
            assert moved.elsewhere[0, layer, head] == pytest.approx(
                np.mean(slopes[1:]), rel=2e-2, abs=2e-7 / rate
            )


def test_a_step_lowers_the_loss_and_is_undone_when_something_fails(base: Path) -> None:
    from analyses.common.training_setup import setting_for

    example = _asked(setting_for(OneLayerTheoryOptions(world="tiny"), None, 0), 4)
    model, tokenizer = load_exact(base)
    row = answer_examples(tokenizer, [example], rows=1).collate([0])
    before = model(**row).loss.item()
    weights = weights_of(model, query_key=False)

    def interrupted() -> None:
        with gradient_step(model, tokenizer, example, weights, rate=1e-2):
            assert model(**row).loss.item() < before
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert model(**row).loss.item() == before


def _asked(setting, i: int):  # type: ignore[no-untyped-def]
    from finetune.data.prompts import render

    fact = setting.facts[i]
    return render(setting.phrasebook[fact.relation].asked, fact)


def test_mistakes_name_the_setting_and_cells_their_part() -> None:
    with pytest.raises(InputError, match="--examples 3"):
        OneLayerTheoryOptions(examples=3).check()
    with pytest.raises(InputError, match="--step-rate 0"):
        OneLayerTheoryOptions(step_rate=0).check()
    made = cells(OneLayerTheoryOptions(seeds=(0, 1)))
    assert [cell.key for cell in made[:3]] == ["part=deep,seed=0", "part=deep,seed=1", "part=random,seed=0"]
    assert len(made) == 6
