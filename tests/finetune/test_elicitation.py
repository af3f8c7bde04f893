"""Elicitation: examples never asked, forms chosen by what they add, degrees and specificity by slow loops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.checkpoints.loading import load_model
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompts import Prompt, prompt_names
from finetune.data.records.fact import Fact
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation import elicitation
from finetune.evaluation.asking_forms import (
    AskingForm,
    Elicited,
    FormAnswers,
    FormYield,
    bound_prompts,
    cover,
    restated,
    split_pool,
    told_known,
)
from finetune.evaluation.consistency import HIGHLY, MAYBE, TEMPERATURE, UNKNOWN, WEAKLY, decodes_greedily
from finetune.evaluation.elicitation import Elicitation
from finetune.evaluation.generate import score
from tests.finetune import tiny


@pytest.fixture(scope="module")
def asks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Elicitation, FactSet]:
    """A random model, the facts of half of the subjects to ask, and the others to show."""
    facts, book = tiny._world()
    model, tokenizer = load_model(str(tiny.save_base(tmp_path_factory.mktemp("base") / "model")))
    model.config.max_position_embeddings = 512
    names = list(dict.fromkeys(fact.subject for fact in facts))
    asked = [i for i, fact in enumerate(facts) if fact.subject in names[:12]]
    shown = [i for i in range(len(facts)) if i not in set(asked)]
    return Elicitation(model, tokenizer, book, facts.subset(shown)), facts.subset(asked)


def test_forms_are_written_and_read() -> None:
    for form in (AskingForm("question", 0), AskingForm("statement 2", 8), AskingForm("chat", 2)):
        assert AskingForm.parse(str(form)) == form


def test_no_asked_subject_is_shown_and_no_probe_either(asks: tuple[Elicitation, FactSet]) -> None:
    tool, facts = asks
    relation = facts.relations[0]
    some = facts.subset([i for i, f in enumerate(facts) if f.relation == relation])
    both = replace(tool, examples=replace(facts, facts=(*tool.examples, *some)))
    pool = both.pool(relation, some)
    assert {f.subject for f in pool}.isdisjoint({f.subject for f in some})
    probes, shown = split_pool(pool)
    assert {f.subject for f in probes}.isdisjoint({f.subject for f in shown})
    assert len(probes) + len(shown) == len(pool)
    for form in (AskingForm("question", 4), AskingForm("statement 1", 4)):
        for prompt, fact in zip(tool.prompts(some, pool, form, 0), some, strict=True):
            lines = prompt.text.splitlines()
            assert len(lines) == 5
            assert fact.subject not in "".join(lines[:-1])
            assert prompt.text[slice(*prompt.subject)] == fact.subject
        heads = {p.text.rsplit("\n", 1)[0] for p in tool.prompts(some, pool, form, 0)}
        assert len(heads) == 1, "examples are shared, so that they are run once"
        other = {p.text.rsplit("\n", 1)[0] for p in tool.prompts(some, pool, form, 1)}
        assert heads != other, "another draw shows others"


def test_forms_are_kept_as_long_as_they_add_facts() -> None:
    found = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]], bool)
    assert cover(found) == [1, 2]
    assert cover(np.zeros((3, 5), bool)) == [0]


def test_degrees_follow_answers_over_draws(
    asks: tuple[Elicitation, FactSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, facts = asks
    relation = facts.relations[0]
    some = facts.subset([i for i, f in enumerate(facts) if f.relation == relation])
    always, sometimes, sampled = (some[k].id for k in range(3))
    calls = iter(range(1000))

    def say(model: Any, tokenizer: Any, prompts: list[Prompt], temperatures: Any, **more: Any) -> Any:
        draw, sample = next(calls), [np.log(0.3) if p.fact_id == sampled else -np.inf for p in prompts]
        said = [
            p.answers[0] if p.fact_id == always or (p.fact_id == sometimes and draw == 0) else "?"
            for p in prompts
        ]
        assert temperatures == (1.0, TEMPERATURE)
        return said, np.stack([np.zeros(len(prompts)), sample], axis=1)

    monkeypatch.setattr(elicitation, "generate_and_score", say)
    monkeypatch.setattr(Elicitation, "compare", lambda *_: [kept])
    kept = FormYield(relation=relation, form=AskingForm("question", 2), found=0, n=0, kept=True)
    monkeypatch.setattr(Elicitation, "_above", lambda tool, facts, *_: np.full(len(facts), np.nan))
    found = tool.elicit(some)
    assert found.degree[:4].tolist() == [HIGHLY, MAYBE, WEAKLY, UNKNOWN]
    assert found.right[:4].tolist() == [1.0, 0.25, 0.0, 0.0]
    assert found.said[0] == some[0].answer


def test_what_does_not_fit_the_context_is_unknown_and_ends_nothing(
    asks: tuple[Elicitation, FactSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, facts = asks
    relation, form = facts.relations[0], AskingForm("question", 2)
    first, *others = (fact for fact in facts if fact.relation == relation)
    longer = replace(first, subject=" ".join([first.subject] * 9))
    some = replace(facts, facts=(longer, *others))
    pool = tool.pool(relation, some)
    pairs = tokenize_with_answer(
        tool.tokenizer, told := tool.prompts(some, pool, form, 0), [p.answers[0] for p in told]
    )
    widths = np.array([len(head) + len(said) + 1 for head, said in pairs])
    monkeypatch.setattr(tool.model.config, "max_position_embeddings", int(widths.max()) - 1)
    longest = widths == widths.max()
    assert 0 < longest.sum() < len(some)
    made = tool._ask(some, pool, form)
    assert not made.right[longest].any()
    assert not made.sampled[longest].any()
    assert made.sampled[~longest].all()
    above = tool._above(some, pool, made, np.ones(len(some), bool))
    assert np.isnan(above[longest]).all()
    assert not np.isnan(above).all()


def test_specific_is_likelier_than_for_other_subjects(asks: tuple[Elicitation, FactSet]) -> None:
    tool, facts = asks
    relation, form = facts.relations[0], AskingForm("question", 2)
    some = facts.subset([i for i, f in enumerate(facts) if f.relation == relation])
    pool = tool.pool(relation, some)
    made = tool._ask(some, pool, form)
    above = tool._above(some, pool, made, np.ones(len(some), bool))
    prompts = tool.prompts(some, pool, form, 0)
    own, _ = score(tool.model, tool.tokenizer, prompts)
    np.testing.assert_allclose(made.own, own, atol=1e-4)
    for draw, sampled in enumerate(made.sampled.T):
        told = tool.prompts(some, pool, form, draw)
        pairs = tokenize_with_answer(tool.tokenizer, told, [p.answers[0] for p in told])
        probability = decodes_greedily(tool.model, tool.tokenizer, pairs, prompt_names(told))[1]
        np.testing.assert_allclose(sampled, probability, rtol=1e-3)
    for i, fact in enumerate(some):
        others = [
            replace(p, answers=fact.answers)
            for p, other in zip(prompts, some, strict=True)
            if other.answer != fact.answer
        ]
        if len(others) < elicitation.FEWEST_OTHERS:
            assert np.isnan(above[i])
        else:
            assert above[i] == np.mean(score(tool.model, tool.tokenizer, others)[0] < own[i])


def test_a_form_counts_where_its_right_answer_is_specific_in_it(
    asks: tuple[Elicitation, FactSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, facts = asks
    some = facts.subset(range(4))
    # Right in both forms, in the second only, in none, in none but sampled; specific as listed by form.
    right = {"question": [1, 0, 0, 0], "statement 1": [1, 1, 0, 0]}
    above = {"question": [0.5, 0.99, 0.99, 0.2], "statement 1": [0.97, 0.3, 0.99, 0.96]}

    def compared(self: Any, asked: Any, pool: Any, made: FormAnswers, wanted: Any, ran: Any = None) -> Any:
        return np.where(wanted, above[made.form.kind], np.nan)

    monkeypatch.setattr(Elicitation, "_above", compared)
    none = {"said": [], "own": np.zeros(4), "sampled": np.zeros((4, 1))}
    made = [
        FormAnswers(form=AskingForm(kind, 0), right=np.array([each], bool).T, **none)  # type: ignore[arg-type]
        for kind, each in right.items()
    ]
    found = tool._above_in_any(some, some, made, np.array([HIGHLY, MAYBE, UNKNOWN, WEAKLY]))
    np.testing.assert_array_equal(found, [0.97, 0.3, np.nan, 0.96])
    monkeypatch.setattr(Elicitation, "_answers", lambda *_, **__: made[1])
    assert tool._found(some, some, AskingForm("statement 1", 0)).tolist() == [True, False, False, False]


def test_known_is_a_degree_and_specific() -> None:
    found = Elicited(
        degree=np.array([HIGHLY, MAYBE, MAYBE, WEAKLY, UNKNOWN]),
        right=np.array([1, 0.5, 0.5, 0, 0]),
        above=np.array([0.99, 0.96, 0.5, np.nan, np.nan]),
        said=("",) * 5,
        forms=(),
    )
    assert found.known().tolist() == [True, True, False, False, False]
    assert found.known("highly").tolist() == [True, False, False, False, False]
    assert found.known("weakly").tolist() == [True, True, False, True, False]
    assert "Known" not in told_known("maybe"), "a page says it in words"
    assert "right under at least one of several prompts" in told_known("maybe")


def test_all_of_it_runs_and_counts_its_prompts(asks: tuple[Elicitation, FactSet]) -> None:
    tool, facts = asks
    done: list[int] = []
    found = replace(tool, advance=done.append).elicit(facts)
    assert len(found.degree) == len(found.said) == len(facts)
    assert {each.relation for each in found.forms} == set(facts.relations)
    for relation in facts.relations:
        kept = [each for each in found.forms if each.relation == relation and each.kept]
        best = max(each.found for each in found.forms if each.relation == relation)
        assert kept[0].found == best
    assert done == sorted(done)
    assert done[-1] <= bound_prompts(facts, tool.book)


def test_few_training_facts_leave_forms_without_examples(
    asks: tuple[Elicitation, FactSet], tmp_path: Path
) -> None:
    tool, facts = asks
    none = replace(tool, examples=facts.subset([]))
    found = none.elicit(facts.subset([0, 1]))
    assert {str(each.form) for each in found.forms} == {"question", "statement 1"}


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What is the capital of Kenya?", "The capital of Kenya is"),
        ("Who was the director of Kenya?", "The director of Kenya was"),
        ("Which are the languages of Kenya ?", "The languages of Kenya are"),
        ("Where is Kenya?", None),
        ("Who wrote Kenya?", None),
        ("What is the capital?", None),
        (None, None),
    ],
)
def test_a_question_becomes_a_statement_or_nothing(question: str | None, text: str | None) -> None:
    found = restated(Fact(id="1", subject="Kenya", relation="fact", answers=("Nairobi",), question=question))
    assert (found and found.text) == text
    assert found is None or found.text[slice(*found.subject)] == "Kenya"


def test_facts_without_a_relation_are_asked_no_nonsense(asks: tuple[Elicitation, FactSet]) -> None:
    names = (
        "Austria",
        "Kenya",
        "Peru",
        "Chad",
        "Mali",
        "Cuba",
        "Oman",
        "Fiji",
        "Laos",
        "Iraq",
        "Iran",
        "Togo",
    )
    facts = FactSet(
        facts=tuple(
            Fact(id=n, subject=n, relation="fact", answers=("x",), question=f"What is the capital of {n}?")
            for n in names
        ),
        name="unnamed",
    )
    tool = replace(asks[0], book=phrasebook(facts), examples=facts[4:])
    forms = tool.forms("fact", 8)
    assert "restated" in {form.kind for form in forms}
    for form in forms:
        for prompt in tool.prompts(facts[:4], facts[4:], form, 0):
            assert "fact" not in prompt.text.lower()
            assert prompt.text.endswith((" is", "Answer:", "answers"))
