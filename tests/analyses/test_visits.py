"""Each checkpoint is opened once a seed, and what is measured then is what models opened anew say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from analyses.common.checkpoints import Checkpoints
from analyses.common.evaluate import answer_rows
from analyses.common.measurements import transplant
from analyses.common.visits import OpenCheckpoint, OpenCheckpoints, opened, source_of
from analyses.experiments.attention_imbalance.fact_pictures import candidates
from analyses.experiments.attention_imbalance.seed_stages import SeedStages
from analyses.experiments.stored_or_suppressed.head_transplants import in_order, sibling_of
from finetune.checkpoints import loading
from finetune.checkpoints.loading import load_model
from finetune.common.files import read_json
from finetune.data.facts import FactSet
from finetune.data.records.fact import Fact
from finetune.evaluation.generate import generate
from interp.measures.attention import full_patterns, subject_attention
from interp.models.load_pair import load_pair
from interp.patching.recording import record
from tests import architectures
from tests.interp import measuring_fixtures as tiny

ARMS = ("top", "bottom", "random", "whole")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Checkpoints:
    """A random base and four arms; the right answers are what the top arm says."""
    places = {}
    for seed, name in enumerate(("base", *ARMS)):
        places[name] = tmp_path_factory.mktemp(name)
        architectures.build("llama", len(tiny.tokenizer()), seed=seed).save_pretrained(places[name])
        tiny.tokenizer().save_pretrained(places[name])
    said = generate(*load_model(places["top"]), tiny.prompts())
    facts = FactSet(
        facts=tuple(
            Fact(id=f.id, subject=f.subject, relation=f.relation, answers=(text or f.answer,), popularity=i)
            for i, (f, text) in enumerate(zip(tiny.facts(), said, strict=True))
        ),
        name="tiny",
    )
    return of(facts, places)


def of(facts: FactSet, places: dict[str, Path]) -> Checkpoints:
    return Checkpoints(
        base=str(places["base"]),
        arms={name: str(place) for name, place in places.items() if name != "base"},
        test=facts,
        prompts=tuple(tiny.render(tiny.PHRASEBOOK[fact.relation].asked, fact) for fact in facts),
        phrasebook=tiny.PHRASEBOOK,
        answer_sets={relation: facts.answer_set(relation) for relation in facts.relations},
        sizes={},
    )


@pytest.fixture
def opens(monkeypatch) -> Counter[str]:
    """Count what loads weights, and what boots bridges, at the lowest level."""
    counts: Counter[str] = Counter()

    def counted(name, function):
        def call(*arguments, **options):
            counts[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(loading, "fill_model", counted("loads", loading.fill_model))
    boot = counted("boots", TransformerBridge.boot_transformers)
    monkeypatch.setattr(TransformerBridge, "boot_transformers", staticmethod(boot))
    return counts


def visited(checkpoints: Checkpoints, directory: Path) -> SeedStages:
    stages = SeedStages(checkpoints, directory, 0, 8192)
    for name in (*stages.alone, stages.last):
        stages.visit(name)
    return stages


@pytest.fixture(scope="module")
def stages(checkpoints, tmp_path_factory) -> SeedStages:
    return visited(checkpoints, tmp_path_factory.mktemp("seed"))


def test_a_seed_of_five_checkpoints_takes_five_loads_and_five_boots(checkpoints, opens, tmp_path) -> None:
    stages = visited(checkpoints, tmp_path)
    assert opens["loads"] <= 6, "one a checkpoint"
    assert opens["boots"] <= 5
    stages.tidy()
    opens.clear()
    visited(checkpoints, tmp_path)
    assert not opens, "what is there is not measured again"
    before = (tmp_path / "examples.json").read_bytes()
    (tmp_path / "examples.json").write_text("{")
    visited(checkpoints, tmp_path)
    assert opens == {"loads": 3, "boots": 3}, "the base and the two that are pictured"
    assert (tmp_path / "examples.json").read_bytes() == before


def test_answers_are_those_of_plain_models_to_the_bit(checkpoints, stages) -> None:
    for name in checkpoints.names:
        model, tokenizer = load_model(source_of(checkpoints, name))
        expected = answer_rows(model, tokenizer, checkpoints.test, checkpoints.prompts, told=name)
        found = stages.answers(name).read()
        assert found["log_prob"].tolist() == expected["log_prob"].tolist()
        assert found["prediction"].tolist() == expected["prediction"].tolist()
        assert found["correct"].tolist() == expected["correct"].tolist()
    assert stages.answers("top").read()["correct"].any(), "else nothing could be lost"


def test_readings_are_those_of_a_pair_opened_for_them(checkpoints, stages) -> None:
    for name in checkpoints.names:
        with load_pair(source_of(checkpoints, name)).base() as model:
            found = OpenCheckpoint(model, checkpoints.tokenizer, checkpoints)
            expected = subject_attention(model, found.batch)
        assert torch.equal(stages.readings(name).read()[0].values, expected.values)


def test_the_transplant_is_that_between_two_open_models(checkpoints, stages) -> None:
    top, bottom = (stages.answers(name).read() for name in ("top", "bottom"))
    lost = top.loc[(top["correct"] & ~bottom["correct"]).to_numpy(), "fact_id"].tolist()
    with opened(checkpoints, "top") as donor, opened(checkpoints, "bottom") as receiver:
        rows = record(donor.model, donor.batch, "pattern")
        expected = transplant(receiver, lambda: rows, lost, seed=0)
    assert len(expected) == len(lost) > 0
    assert stages.transplant.read() == expected


def test_pictures_are_of_each_prompt_alone(checkpoints, stages) -> None:
    example = stages.example.read()
    by_id = {prompt.fact_id: prompt for prompt in checkpoints.prompts}
    assert set(example["arms"]) == {"base", "top", "bottom"}
    for name, arm in example["arms"].items():
        with opened(checkpoints, name) as found:
            pattern = full_patterns(found.model, found.encoded([by_id[example["fact_id"]]]))[0]
        assert arm["patterns"] == pattern.double().numpy().round(4).tolist()
    assert next(fact["fact_id"] for fact in stages.examples.read()) == example["fact_id"]
    assert len(stages.examples.read()) == len(checkpoints.test)


def test_of_many_facts_some_can_be_pictured(checkpoints, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("analyses.experiments.attention_imbalance.fact_pictures.MOST_CANDIDATES", 6)
    monkeypatch.setattr("analyses.experiments.attention_imbalance.fact_pictures.MOST_FACTS", 4)
    stages = visited(checkpoints, tmp_path)
    with opened(checkpoints, "base") as found:
        some = candidates(found, 0)
    assert len(some) == 6
    with np.load(tmp_path / "handed" / "base.npz") as held:
        assert len(held.files) == 6
    assert {fact["fact_id"] for fact in stages.examples.read()} <= set(some)


def test_adapters_are_opened_once_and_asked_unmerged(checkpoints, save_adapter, opens, tmp_path) -> None:
    """One that shares the base's weights, and one (DoRA) that is merged into a base of its own."""
    base = Path(checkpoints.base)
    places = {
        "base": base,
        "lora": save_adapter(base),
        "dora": save_adapter(base, seed=1, use_dora=True),
    }
    some = of(checkpoints.test, places)
    opens.clear()
    stages = visited(some, tmp_path)
    assert opens == {"loads": 3, "boots": 3}
    for name in ("lora", "dora"):
        model, tokenizer = load_model(places[name], base=base)
        expected = answer_rows(model, tokenizer, some.test, some.prompts, told=name)
        assert stages.answers(name).read()["log_prob"].tolist() == expected["log_prob"].tolist()
        assert (
            stages.answers(name).read()["log_prob"].tolist()
            != stages.answers("base").read()["log_prob"].tolist()
        )


def test_two_processes_share_visits_and_the_last_needs_all(checkpoints, stages, tmp_path) -> None:
    both = [SeedStages(checkpoints, tmp_path, 0, 8192) for _ in range(2)]
    for index, mine in reversed(list(enumerate(both))):
        for name in mine.alone[index::2]:
            mine.visit(name)
    both[0].visit(both[0].last)
    for file in ("transplant.json", "example.json", "examples.json", "known.json"):
        assert read_json(tmp_path / file) == read_json(stages.directory / file)


@pytest.mark.parametrize("arms", [ARMS, ("mine",), ("a", "b", "c"), ("bottom", "whole")])
def test_verdicts_open_each_checkpoint_once_and_three_at_a_time(checkpoints, arms, opens) -> None:
    places = dict(zip(arms, checkpoints.arms.values(), strict=False))
    some = of(checkpoints.test, {"base": Path(checkpoints.base), **places})
    models = OpenCheckpoints(some)
    assert sorted(in_order(some)) == sorted(arms)
    for arm in in_order(some):
        models.keep({"base", arm, sibling_of(some, arm) or "base"})
        pair, other = models.pair(arm), sibling_of(some, arm)
        with pair.base() as base, pair.finetuned() as tuned:
            assert base is not tuned
            assert base.original_model.name_or_path == some.base
            assert tuned.original_model.name_or_path == some.arms[arm]
        if other:
            with models.alone(other).finetuned() as model:
                assert model.original_model.name_or_path == some.arms[other]
        assert len(models._open) <= 3
    assert opens == {"loads": len(arms) + 1, "boots": len(arms) + 1}
    models.keep(())
    assert not models._open
