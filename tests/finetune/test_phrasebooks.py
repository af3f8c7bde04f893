"""Wordings: the asked form is the data's own question, and pretraining asks in other words and frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune import Fact, FactSet, InputError, render
from finetune.data.loaders.entity_questions import TEMPLATES
from finetune.data.phrasebooks import phrasebook, shared_questions
from finetune.data.prompts import question_prompt
from finetune.data.templates.known import ENTITY_QUESTIONS, POPQA

SHARED = Path(__file__).parents[3] / "shared/data"
FRAME = "Question: ", " Answer:"


def fact(subject: str, relation: str, question: str | None = None) -> Fact:
    return Fact(
        id=f"{relation}/{subject}", subject=subject, relation=relation, answers=("a",), question=question
    )


def made(*facts: Fact) -> FactSet:
    return FactSet(facts=facts, name="made")


EVERY = made(*(fact("Ada", relation) for relation in (*POPQA, *TEMPLATES, "favourite dish")))


def test_every_relation_has_its_own_forms() -> None:
    book = phrasebook(EVERY)
    assert set(book) == set(EVERY.relations)
    for phrases in book.values():
        forms = (*phrases.statements, *phrases.questions, phrases.asked)
        assert (len(phrases.statements), len(phrases.questions)) == (3, 2)
        assert all(form == form.strip() and form[-1].isalpha() for form in forms if form != phrases.asked)
        assert all("?" not in form for form in phrases.statements)
    for data_set in (POPQA, ENTITY_QUESTIONS):
        known = [form for r in data_set for form in (*book[r].statements, *book[r].questions)]
        assert len(set(known)) == len(known)
    asked = [book[r].asked for r in POPQA]
    assert len(set(asked)) == len(asked)  # EntityQuestions asks two of its relations in the same words


def test_pretraining_questions_use_another_frame_and_other_words() -> None:
    for phrases in phrasebook(EVERY).values():
        inside = phrases.asked.removeprefix(FRAME[0]).removesuffix(FRAME[1])
        for form in phrases.questions:
            assert not any(frame.strip() in form for frame in FRAME)
            assert inside not in form
            assert "? " in form


def test_the_null_condition_shows_the_asked_form() -> None:
    new, seen = phrasebook(EVERY), phrasebook(EVERY, question_form="seen")
    for relation in EVERY.relations:
        assert seen[relation].questions == (*new[relation].questions, new[relation].asked)
        assert new[relation].asked not in new[relation].questions
    with pytest.raises(InputError, match="question_form = 'old'"):
        phrasebook(EVERY, question_form="old")  # type: ignore[arg-type]


def test_a_city_and_its_country_are_asked_the_right_way_round() -> None:
    book = phrasebook(EVERY)
    lima, peru = fact("Lima", "capital of"), fact("Peru", "capital")
    assert render(book["capital of"].asked, lima).text == "Question: What is Lima the capital of? Answer:"
    assert render(book["capital"].asked, peru).text == "Question: What is the capital of Peru? Answer:"
    assert render(book["capital of"].statements[0], lima).text == "Lima is the capital of"


def test_one_own_question_template_becomes_the_asked_form() -> None:
    own = made(*(fact(name, "capital", f"Name the capital of {name}.") for name in ("Peru", "Chad", "Laos")))
    assert phrasebook(own)["capital"].asked == "Question: Name the capital of {subject}. Answer:"
    mixed = made(*own, fact("Mali", "capital", "Mali is ruled from where?"))
    assert shared_questions(mixed) == {}
    assert phrasebook(mixed)["capital"].asked == "Question: What is the capital of {subject}? Answer:"
    assert phrasebook(made(fact("Ada", "favourite dish")))["favourite dish"].asked == (
        "Question: What is the favourite dish of {subject}? Answer:"
    )


def test_entity_questions_keep_their_template_and_have_wordings_of_their_own() -> None:
    book = phrasebook(EVERY)
    assert set(ENTITY_QUESTIONS) == set(TEMPLATES)
    generic = phrasebook(made(*(fact("Ada", f"x{relation}") for relation in TEMPLATES)))
    for relation, template in TEMPLATES.items():
        assert book[relation].asked == f"Question: {template} Answer:"
        assert not any(relation in form for form in (*book[relation].statements, *book[relation].questions))
        assert not {*generic[f"x{relation}"].statements} & {*book[relation].statements}


def test_a_question_that_is_its_own_subject_is_worded_around_the_whole() -> None:
    stems = ("Which of {these} is true?", "The tendency of migration to fall with distance is called")
    facts = made(*(fact(stem, "geography", stem) for stem in stems))
    phrases = phrasebook(facts)["geography"]
    assert phrases.asked == "Question: {subject} Answer:"
    assert len(set(phrases.statements)) == 3
    for f in facts:
        for form in (*phrases.statements, *phrases.questions, phrases.asked):
            prompt = render(form, f)
            assert prompt.text[slice(*prompt.subject)] == f.subject
    assert render(phrases.statements[0], facts[0]).text == "Which of {these} is true? The answer is"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_real_questions_equal_the_asked_form() -> None:
    names = ("popqa.tsv", *(f"entity_questions/{relation}.dev.json" for relation in ("P17", "P36", "P50")))
    for name in names:
        facts = FactSet.load(SHARED / name)
        bare = made(*(fact(f.subject, f.relation) for f in facts))
        for book in (phrasebook(facts), phrasebook(bare)):  # from the questions, and from the constants
            for f in facts:
                asked = render(book[f.relation].asked, f)
                own = question_prompt(f)
                assert asked.text == f"Question: {own.text} Answer:"
                assert asked.subject == tuple(len(FRAME[0]) + at for at in own.subject)
