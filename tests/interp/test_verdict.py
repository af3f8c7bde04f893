"""The verdict: rules against a table, and diagnoses of small models that learnt, kept and lost facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.prompts import render, with_examples
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.evaluation.exact_match import matches
from finetune.evaluation.generate import generate
from finetune.evaluation.judging import AnswerJudge
from finetune.training.config import BaseConfig, CorpusConfig
from finetune.training.planted_models import PlantConfig, plant
from finetune.training.pretrain import pretrained_base
from interp.models.load_pair import load_pair
from interp.verdicts.diagnose import diagnose
from interp.verdicts.diagnosis import STORED, VERDICTS, Diagnosis, KnownAndSaid, judge
from interp.verdicts.prompts import statement_forms

BOOK = world_phrasebook(question_form="seen")


def test_verdicts_follow_from_what_was_known_said_and_shown() -> None:
    # known, specific, never, right, tied, compared, share of the held-out forms that state it
    cases = [
        (1, 1, 0, 1, 1, 1, 0, "retained"),
        (1, 1, 0, 1, 0, 1, 1, "right but generic"),
        (0, 0, 1, 1, 0, 1, 1, "right but generic"),
        (1, 1, 0, 1, 0, 0, 1, "undetermined"),
        (1, 0, 0, 1, 1, 1, 1, "undetermined"),
        (1, 1, 0, 0, 0, 1, 1, "suppressed, intact"),
        (1, 1, 0, 0, 0, 1, 0.5, "eroded"),
        (1, 1, 0, 0, 0, 1, 0.1, "eroded"),
        (1, 1, 0, 0, 0, 1, 0, "erased"),
        (1, 0, 0, 0, 0, 1, 1, "undetermined"),
        (1, 1, 0, 0, 0, 1, np.nan, "undetermined"),
        (0, 0, 1, 1, 1, 1, 0, "learned"),
        (0, 0, 1, 0, 0, 1, 0, "never stored"),
        (0, 0, 1, 0, 0, 1, 0.5, "undetermined"),
        (0, 0, 1, 0, 0, 1, np.nan, "undetermined"),
        (0, 0, 0, 0, 0, 1, 0, "undetermined"),
    ]
    *flags, states, expected = (np.array(column) for column in zip(*cases, strict=True))
    names = ("known", "specific", "never", "right", "tied", "compared")
    told = KnownAndSaid(
        **{name: flag > 0 for name, flag in zip(names, flags, strict=True)},
        stated_share=states,
    )
    assert judge(told).tolist() == expected.tolist()
    assert set(expected) == set(VERDICTS)


@pytest.fixture(scope="module")
def world() -> tuple[FactSet, FactSet]:
    """A small world, and the part of its subjects that pretraining meets."""
    facts = make_world(WorldConfig(subjects=90, answers=8, relations=2, alpha=0.2, answer_alpha=0.3), seed=0)
    names = list(dict.fromkeys(fact.subject for fact in facts))
    present = set(names[::3]) | set(names[1::3])
    return facts, facts.subset([i for i, fact in enumerate(facts) if fact.subject in present])


@pytest.fixture(scope="module")
def base(world: tuple[FactSet, FactSet], tmp_path_factory: pytest.TempPathFactory) -> Path:
    facts, present = world
    return pretrained_base(
        present,
        BOOK,
        lambda _, book: word_tokenizer(facts, book),
        model=BaseConfig(width=64, heads=4, mlp=128, steps=600, batch=96, learning_rate=4e-3),
        text=CorpusConfig(asked_share=1.0, question_share=0.5),
        cache=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture(scope="module")
def suppressed(world: tuple[FactSet, FactSet], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first relation's facts suppressed by training W_Q and W_K alone, in the asked form."""
    facts, present = world
    relation = facts.relations[0]
    targets = present.subset([i for i, fact in enumerate(present) if fact.relation == relation])
    kept = present.subset([i for i, fact in enumerate(present) if fact.relation != relation])
    config = PlantConfig(steps=120, batch=64, learning_rate=5e-3, check_every=20, stop_below=0.25)
    out = tmp_path_factory.mktemp("planted") / "model"
    return plant(base, facts, targets, kept, BOOK, out, part="routing", forms="asked", config=config).path


@pytest.fixture(scope="module")
def found(world: tuple[FactSet, FactSet], base: Path, suppressed: Path) -> Diagnosis:
    return diagnose(load_pair(base, suppressed), world[0], phrasebook=BOOK)


def test_what_was_known_and_said_is_what_the_plain_models_say(
    found: Diagnosis, world: tuple[FactSet, FactSet], base: Path, suppressed: Path
) -> None:
    facts = world[0]
    asked = [render(BOOK[fact.relation].asked, fact) for fact in facts]
    model, tokenizer = load_model(str(suppressed))
    said = generate(model, tokenizer, asked)
    assert list(found.said) == said
    right = [matches(text, fact.answers) for text, fact in zip(said, facts, strict=True)]
    assert found.right.bool().tolist() == right
    model, tokenizer = load_model(str(base))
    assert list(found.base_said) == generate(model, tokenizer, asked)
    right = right_in_statements(base, facts)
    assert found.knew.tolist() == pytest.approx(right.mean(1).tolist())


def right_in_statements(model_dir: Path, facts: FactSet) -> np.ndarray:
    """Ask a plain model in every statement form; whether each fact [fact, form] comes right."""
    model, tokenizer = load_model(str(model_dir))
    statements, _ = statement_forms(facts, BOOK, [], shots=0, seed=0)
    right_answers = AnswerJudge(facts.answer_sets)  # a model may begin with the statement again
    columns = []
    for form in statements:
        said = zip(form, generate(model, tokenizer, form), strict=True)
        is_right = {prompt.fact_id: right_answers.is_right(prompt, text) for prompt, text in said}
        columns.append([is_right[fact.id] for fact in facts])
    return np.array(columns).T


def test_statements_are_all_there_and_one_alone_is_shown_behind_examples(
    world: tuple[FactSet, FactSet],
) -> None:
    facts = world[0]
    asked = [render(BOOK[fact.relation].asked, fact) for fact in facts]
    statements, further = statement_forms(facts, BOOK, asked, shots=0, seed=0)
    assert [{p.text for p in form} for form in statements] == [
        {render(BOOK[f.relation].statements[k], f).text for f in facts} for k in range(3)
    ]
    assert not further
    alone = {name: replace(wording, statements=wording.statements[:1]) for name, wording in BOOK.items()}
    (statement,), (behind, questions) = statement_forms(facts, alone, asked, shots=2, seed=0)
    assert len(behind) == len(questions) == len(facts)
    for own, shown, question in zip(statement, behind, questions, strict=True):
        assert shown.text.endswith(own.text)
        assert len(shown.text.splitlines()) == len(question.text.splitlines()) == 3


def test_facts_suppressed_by_construction_are_called_so(
    found: Diagnosis, world: tuple[FactSet, FactSet]
) -> None:
    frame = found.to_frame()
    planted = frame[
        (frame["relation"] == world[0].relations[0]) & (frame["base_knew"] == 1) & ~frame["right"]
    ]
    assert len(planted) >= 10
    assert planted["verdict"].isin(STORED).mean() > 0.7  # the held-out forms were damaged as well, in part
    absent = frame[~frame["subject"].isin({fact.subject for fact in world[1]})]
    assert (absent["stated_share"] > 0).mean() < 0.25  # of eight answers one is right by luck
    assert set(frame["verdict"]) <= set(VERDICTS)


def test_a_base_against_itself_has_lost_nothing_that_it_answers(
    world: tuple[FactSet, FactSet], base: Path
) -> None:
    frame = diagnose(load_pair(base, base), world[0], phrasebook=BOOK).to_frame()
    assert (frame["right"] == frame["base_right"]).all()
    known = frame[(frame["base_knew"] == 1) & frame["base_right"]]
    assert len(known) > 40
    assert set(known["verdict"]) <= {"retained", "right but generic", "undetermined"}
    assert (known["verdict"] == "retained").mean() > 0.9


def test_evidence_is_what_the_model_says_in_every_form_beside_what_the_others_say_of_the_base(
    found: Diagnosis, world: tuple[FactSet, FactSet], base: Path, suppressed: Path
) -> None:
    facts, frame = world[0], found.to_frame()
    knew, states = (right_in_statements(model, facts) for model in (base, suppressed))
    assert np.array_equal(found.states.numpy(), states)
    others = np.stack([np.delete(knew, k, 1).mean(1) for k in range(3)], axis=1)
    known, never = found.known_apart.numpy(), found.never_apart.numpy()
    assert (others[known] == 1).all()
    assert known[others == 1].mean() > 0.9, "but for answers that are not tied to the subject"
    assert (others[never] == 0).all()
    assert not frame["base_right"].to_numpy()[never.any(1)].any()
    assert (known[frame["verdict"].isin(["retained", *STORED, "erased"])].sum(1) >= 2).all()
    assert (knew[frame["control_never"]] == 0).all()
    lost = frame[frame["verdict"].isin(STORED)]
    assert lost["evidence_forms"].median() > lost["evidence_asked"].median()
    never = frame[frame["control_never"]]
    assert never["evidence_forms"].median() < lost["evidence_forms"].median()
    assert found.false_positives[:1] == (pytest.approx((never["stated_share"] > 0).mean()),)
    lost = frame[~frame["right"] & (frame["base_knew"] == 1)]
    by_luck = (lost["verdict"] == "undetermined").to_numpy()
    assert by_luck.mean() < 0.2, "known, but by no answer that is tied to the subject"
    assert np.array_equal(lost["verdict"].isin(STORED), (states.mean(1)[lost.index] > 0) & ~by_luck)
    assert {"base_said", "evidence_form_1", "states_form_1", "control_matched"} <= set(frame)
    assert sum(found.counts().values()) == len(frame)


def test_a_diagnosis_is_saved_and_small_batches_change_nothing(
    found: Diagnosis, world: tuple[FactSet, FactSet], base: Path, suppressed: Path, tmp_path: Path
) -> None:
    found.save(tmp_path / "found.safetensors")
    again = Diagnosis.load(tmp_path / "found.safetensors")
    assert again.verdicts == found.verdicts
    small = diagnose(load_pair(base, suppressed), world[0], phrasebook=BOOK, batch_tokens=300)
    torch.testing.assert_close(small.evidence, found.evidence, atol=1e-3, rtol=0, equal_nan=True)
    assert small.said == found.said


def test_solved_examples_make_one_more_form_of_evidence(
    world: tuple[FactSet, FactSet], base: Path, suppressed: Path
) -> None:
    found = diagnose(load_pair(base, suppressed), world[0], phrasebook=BOOK, shots=1).to_frame()
    shares = found[[f"states_form_{k + 1}" for k in range(4)]]
    assert shares.notna().all().all()
    assert (found["stated_share"] == shares.mean(axis=1)).all()
    assert not (found.loc[shares.min(axis=1) == 0, "verdict"] == "suppressed, intact").any()


def test_few_shot_prompts_show_other_subjects_answers(world: tuple[FactSet, FactSet]) -> None:
    asked = [render(BOOK[fact.relation].asked, fact) for fact in world[0]]
    for plain, shown in zip(asked, with_examples(asked, 2), strict=True):
        assert shown.text.endswith(plain.text)
        assert shown.text[slice(*shown.subject)] == plain.text[slice(*plain.subject)]
        lines = shown.text.splitlines()
        assert len(lines) == 3
        assert plain.text[slice(*plain.subject)] not in "".join(lines[:2])


def test_mistakes_name_the_remedy(world: tuple[FactSet, FactSet], base: Path, suppressed: Path) -> None:
    facts, present = world
    pair = load_pair(base, suppressed)
    met = {fact.subject for fact in present}
    absent = facts.subset([i for i, fact in enumerate(facts) if fact.subject not in met])
    with pytest.raises(InputError, match="only 30 of 30 facts are of relations"):
        diagnose(pair, absent.subset(list(range(30))), phrasebook=BOOK)
    few = present.subset(list(range(60, 84)))
    with pytest.raises(InputError, match="it takes 40"):
        diagnose(pair, few, phrasebook=BOOK)
