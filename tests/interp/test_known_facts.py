"""A verdict on facts whose knowing was found out elsewhere: it is used, kept, and checked before evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.prompts import render
from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
from finetune.data.tokenizers import word_tokenizer
from finetune.evaluation.generate import generate
from interp.models.load_pair import load_pair
from interp.verdicts.base_knowledge import KnownFacts
from interp.verdicts.diagnose import diagnose
from tests.architectures import build

BOOK = world_phrasebook()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FactSet]:
    """A random model, and facts of which every other one is answered as the model happens to answer it."""
    facts = make_world(WorldConfig(subjects=60, answers=8, relations=2), seed=0)
    folder = tmp_path_factory.mktemp("model")
    tokenizer = word_tokenizer(facts, BOOK)
    build("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model, tokenizer = load_model(str(folder))
    texts = generate(model, tokenizer, [render(BOOK[f.relation].asked, f) for f in facts], max_new_tokens=1)
    answers = [
        (text,) if i % 2 and text else f.answers for i, (f, text) in enumerate(zip(facts, texts, strict=True))
    ]
    made = tuple(replace(f, answers=a) for f, a in zip(facts, answers, strict=True))
    return folder, FactSet(facts=made, name="said")


def found(facts: FactSet, known: bool) -> KnownFacts:
    ids = [fact.id for fact in facts]
    as_known = {fact_id: known and i % 2 == 1 for i, fact_id in enumerate(ids)}
    prompts = [render(BOOK[f.relation].statements[0], f) for f in facts]
    unknown = {i: not k for i, k in as_known.items()}
    return KnownFacts(known=as_known, never=unknown, specific=dict.fromkeys(ids, True), prompts=[prompts])


def test_what_was_found_decides_and_both_models_answers_are_kept(said: tuple[Path, FactSet]) -> None:
    folder, facts = said
    kept: list[pd.DataFrame] = []
    table = diagnose(
        load_pair(folder, folder), facts, phrasebook=BOOK, known=found(facts, True), on_asked=kept.append
    )
    frame = table.to_frame()
    assert frame["base_knew"].tolist() == [float(i % 2) for i in range(len(facts))]
    assert kept[0]["said"].tolist() == frame["said"].tolist()
    assert kept[0]["right"].tolist() == frame["right"].tolist()
    known = frame[frame["base_knew"] == 1]
    kept_ones = known.loc[known["right"], "verdict"]
    assert set(kept_ones) <= {"retained", "right but generic"}
    assert "right but generic" in set(kept_ones), "a random model says the same of many subjects"
    assert not (frame[frame["base_knew"] == 0]["verdict"] == "retained").any()


def test_nothing_known_is_said_before_any_model_is_asked(said: tuple[Path, FactSet]) -> None:
    folder, facts = said
    kept: list[pd.DataFrame] = []
    pair = load_pair(folder, folder)
    with pytest.raises(InputError, match=f"knows none of the {len(facts)} facts"):
        diagnose(pair, facts, phrasebook=BOOK, known=found(facts, False), on_asked=kept.append)
    assert not kept


def test_where_nothing_is_retained_lost_facts_have_verdicts_all_the_same(said: tuple[Path, FactSet]) -> None:
    folder, facts = said
    pair = load_pair(folder, folder)
    right = diagnose(pair, facts, phrasebook=BOOK, known=found(facts, True)).right.bool().tolist()
    wrong = replace(found(facts, True), known={fact.id: not r for fact, r in zip(facts, right, strict=True)})
    table = diagnose(pair, facts, phrasebook=BOOK, known=wrong)
    frame = table.to_frame()
    lost = frame[frame["base_knew"] == 1]
    assert len(lost) == len(facts) - sum(right)
    assert set(lost["verdict"]) <= {"suppressed, intact", "eroded", "erased", "undetermined"}
    assert "retained" not in set(frame["verdict"])
    assert table.unseen == (None, None, None, 0)
    assert "not measured" in repr(table)
