"""Planting: only the chosen part moves, planted answers are what they claim, a finished model is reused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import chisquare

from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.facts import FactSet
from finetune.data.prompts import render
from finetune.data.records.fact import Fact
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.evaluation.batching import IGNORED
from finetune.evaluation.exact_match import matches
from finetune.evaluation.generate import score
from finetune.training.config import BaseConfig, CorpusConfig
from finetune.training.planted_answers import draw_generic_answers, other_answers
from finetune.training.planted_models import (
    PlantConfig,
    _interleave,
    plant,
    read_planted,
)
from finetune.training.pretrain import pretrained_base
from finetune.training.projections import freeze_all_but
from finetune.training.train import TuneConfig, train
from tests import architectures

SHAPE = BaseConfig(width=64, heads=2, mlp=128, steps=300, batch=64)
CONFIG = PlantConfig(steps=40, batch=32, learning_rate=1e-2, check_every=10, sample=40, stop_below=0.3)
MOVES = {"routing": ("q_proj", "k_proj"), "values": ("v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")}
BOOK = world_phrasebook(question_form="seen")


@pytest.fixture(scope="module")
def facts():
    return make_world(WorldConfig(subjects=24, answers=4, relations=2, alpha=0.5), seed=0)


@pytest.fixture(scope="module")
def base(facts, tmp_path_factory):
    cache, text = tmp_path_factory.mktemp("cache"), CorpusConfig(asked_share=1.0)
    return pretrained_base(facts, BOOK, word_tokenizer, model=SHAPE, text=text, cache=cache)


@pytest.fixture(scope="module")
def sides(facts):
    """Targets are the facts of one relation, kept ones those of the other."""
    of = {r: facts.subset([i for i, f in enumerate(facts) if f.relation == r]) for r in facts.relations}
    return tuple(of.values())


@pytest.fixture(scope="module", params=["routing", "values", "all"])
def planted(request, base, facts, sides, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "model"
    return plant(base, facts, *sides, BOOK, out, part=request.param, config=CONFIG)


def test_the_frozen_weights_stay_to_the_bit_and_all_of_the_part_moves(base, planted):
    before, after = (load_file(path / "model.safetensors") for path in (base, planted.path))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    parts = MOVES.get(planted.part)
    assert moved == {n for n in before if parts is None or any(f".{part}." in n for part in parts)}


def test_the_record_says_what_the_saved_model_answers(base, planted, facts, sides):
    curve = read_json(planted.path / "planting.json")["curve"]
    assert [c["steps"] for c in curve] == list(range(10, planted.steps + 1, 10))
    (model, tokenizer), (original, _) = load_model(planted.path), load_model(base)
    for side, said in zip(sides, (planted.target_accuracy, planted.kept_accuracy), strict=True):
        commonest = Counter(f.answer for f in side).most_common(1)[0][0]
        prompts = [render(BOOK[f.relation].asked, f) for f in side if f.answer != commonest]
        known = score(original, tokenizer, prompts)[1]
        assert known.any()
        assert score(model, tokenizer, prompts)[1][known].mean() == pytest.approx(said)
    assert planted.target_accuracy < planted.kept_accuracy


def test_training_stops_once_the_targets_are_lost(base, facts, sides, tmp_path):
    config = replace(CONFIG, stop_below=1.1, planted_above=-1.0)
    assert plant(base, facts, *sides, BOOK, tmp_path / "m", part="values", config=config).steps == 10
    # Lost is not enough for erasure: the facts' own wrong answers must have been learnt.
    config = replace(CONFIG, stop_below=1.1, planted_above=1.0, steps=20)
    assert plant(base, facts, *sides, BOOK, tmp_path / "n", part="values", config=config).steps == 20


def test_a_finished_model_is_returned_as_it_is(planted, facts, sides, tmp_path):
    stamp = (planted.path / "model.safetensors").stat().st_mtime_ns
    again = plant(tmp_path / "no base", facts, *sides, BOOK, planted.path, part=planted.part)
    assert again == planted == read_planted(planted.path)
    assert (planted.path / "model.safetensors").stat().st_mtime_ns == stamp
    left = {p.name for p in planted.path.parent.iterdir()}
    assert left == {"model"}, "nothing half-made lies beside it"


def test_planting_twice_gives_the_same_weights(base, facts, sides, tmp_path):
    config = replace(CONFIG, steps=5)
    paths = [plant(base, facts, *sides, BOOK, tmp_path / n, part="routing", config=config).path for n in "ab"]
    left, right = (load_file(path / "model.safetensors") for path in paths)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_generic_answers_do_not_depend_on_the_subject(facts):
    subjects_of = {r: [f.id for f in facts if f.relation == r] for r in facts.relations}
    relations = [facts.relations[i % 3 % 2] for i in range(600)]
    one = [subjects_of[r][i % 24] for i, r in enumerate(relations)]
    other = [subjects_of[r][(7 * i + 5) % 24] for i, r in enumerate(relations)]
    assert draw_generic_answers(facts, one, seed=1) == draw_generic_answers(facts, other, seed=1)
    assert draw_generic_answers(facts, one, seed=1) != draw_generic_answers(facts, one, seed=2)


def test_generic_answers_follow_the_answers_of_the_facts(facts):
    fact = facts[0]
    drawn = Counter(draw_generic_answers(facts, [fact.id] * 20_000))
    true = Counter(f.answer for f in facts if f.relation == fact.relation)
    assert drawn.keys() == true.keys()
    expected = [20_000 * n / true.total() for n in true.values()]
    assert chisquare([drawn[a] for a in true], expected).pvalue > 1e-3


def test_other_answers_are_fixed_wrong_and_follow_the_rest(facts):
    ids = [f.id for f in facts]
    wrong = dict(zip(ids, other_answers(facts, ids, seed=3), strict=True))
    assert not any(matches(wrong[f.id], f.answers) for f in facts)
    assert all(wrong[f.id] in facts.answer_set(f.relation) for f in facts)
    assert other_answers(facts, ids[:5:-1] + ids[9:12], seed=3) == tuple(
        wrong[id] for id in ids[:5:-1] + ids[9:12]
    )
    many = make_world(WorldConfig(subjects=6000, answers=4, relations=1), seed=0)
    chosen = [f.id for f in many if f.answer == many[0].answer]
    drawn = Counter(other_answers(many, chosen))
    rest = Counter(f.answer for f in many if f.answer != many[0].answer)
    expected = [len(chosen) * n / rest.total() for n in rest.values()]
    assert chisquare([drawn[a] for a in rest], expected).pvalue > 1e-3


def test_an_alias_counts_as_accepted():
    rows = [("a", ("New York", "NYC")), ("b", ("nyc.",)), ("c", ("Paris",))]
    few = FactSet(facts=tuple(Fact(id=i, subject=i, relation="r", answers=a) for i, a in rows), name="few")
    assert all(other_answers(few, ["a"], seed=seed) == ("Paris",) for seed in range(20))
    with pytest.raises(InputError, match="no other answer"):
        other_answers(few.subset([0, 1]), ["a"])


def test_rows_alternate_and_score_the_answers_alone(facts):
    tokenizer = word_tokenizer(facts, BOOK)
    right = [render(BOOK[f.relation].asked, f) for f in facts][:4]
    wrong = [replace(p, answers=(facts.answer_set(p.relation)[0],)) for p in right]
    rows = _interleave(tokenizer, wrong, right)
    batch = rows.collate([rows[i] for i in range(len(rows))])
    said = [tokenizer.decode(labels[labels != IGNORED]) for labels in batch["labels"]]
    pairs = zip(wrong, right, strict=True)
    assert said == [f"{p.answers[0]} {tokenizer.eos_token}" for pair in pairs for p in pair]


@pytest.mark.parametrize("part", ["routing", "values"])
def test_natural_fine_tuning_can_leave_the_rest_to_the_bit(base, facts, tmp_path, part):
    asked = [render(BOOK[f.relation].asked, f) for f in facts]
    config = TuneConfig(steps=3, batch=8, keep="last", part=part)
    made = train(base, asked[:16], asked[16:20], tmp_path / "m", config=config)
    before, after = (load_file(path / "model.safetensors") for path in (base, made.path))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if any(f".{p}." in name for p in MOVES[part])}
    with pytest.raises(InputError, match="for LoRA name targets"):
        TuneConfig(method="lora", part=part)


@pytest.mark.parametrize("part", ["routing", "values"])
@pytest.mark.parametrize("name", ["gpt2", "phi3", "gpt_neox", "opt"])
def test_an_architecture_of_other_names_is_refused(name, part):
    if (name, part) == ("opt", "routing"):
        pytest.skip("OPT's queries and keys have Llama's names")
    with pytest.raises(InputError, match=r"has no .*; take a model of Llama's names"):
        freeze_all_but(architectures.build(name, 50), part)


def test_only_the_part_can_learn():
    model = architectures.build("llama", 50)
    routing, values = (freeze_all_but(model, part) for part in ("routing", "values"))
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(values)
    assert not set(routing) & set(values)
    assert {n for n, p in model.named_parameters() if p.ndim == 2 and "layers" in n} == {*routing, *values}


def test_targets_and_kept_facts_must_be_apart(base, facts, sides, tmp_path):
    targets, kept = sides
    strangers = FactSet(facts=(replace(targets[0], id="stranger"),), name="strangers")
    for these, those, said in (
        (targets, facts, "is to be both lost and kept; leave it out of one"),
        (targets.subset([]), kept, f"0 facts to lose and {len(kept)} to keep; give more"),
        (targets, kept[:0], "and 0 to keep"),
        (strangers, kept, "fact 'stranger' is to be lost and is not among the facts; add it"),
    ):
        with pytest.raises(InputError, match=said):
            plant(base, facts, these, those, BOOK, tmp_path / "x", part="routing")
    assert not list(tmp_path.iterdir())
