"""Careless calls from Python: one line that says what to give, and never a number of something else."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.prompts import Prompt, fact_prompt
from finetune.data.records.fact import Fact
from interp.measures.answer_sets import AnswerSet, answer_readings
from interp.measures.attention import subject_attention
from interp.measures.spans import PromptBatch, encode
from interp.measures.value_readout import value_readout
from interp.models.pair import CheckpointPair
from interp.patching.interventions import Intervention, Knockout, Scale
from interp.patching.recording import record
from interp.verdicts.diagnose import diagnose
from tests.interp import measuring_fixtures as tiny

ADA = {"text": "x Ada was born in", "subject": (2, 5), "relation": "born"}


@pytest.mark.parametrize("answers", ["Aston", ("",), ("Aston", "  "), (None,), None])
def test_answers_are_texts_that_say_something(answers: Any) -> None:
    with pytest.raises(InputError, match="give a tuple of texts, none of them blank"):
        Prompt(**ADA, answers=answers)
    with pytest.raises(InputError, match="give a tuple of texts, none of them blank"):
        Fact(id="q", subject="Ada", relation="born", answers=answers)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"text": "x \ud800Ada"}, "is no Unicode text"),
        ({"subject": (2.0, 5)}, "give two character positions"),
        ({"subject": (5, 2)}, "does not lie in a text of 17 characters"),
    ],
)
def test_a_prompt_is_a_text_with_a_subject_in_it(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Prompt(**(ADA | change), answers=("Aston",))


def test_answers_behind_prompts_that_end_differently_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space at the end of a prompt takes that in front of the answer, and with it its tokens."""
    ends = [Prompt(**(ADA | {"text": f"x Ada was born in{end}"}), answers=("Aston",)) for end in ("", " ")]
    made: list[str] = []

    def tokenized(tokenizer: object, prompt: Prompt, *arguments: object) -> Any:
        made.append(prompt.text)
        return SimpleNamespace(readings=((len(prompt.text),),))

    monkeypatch.setattr(AnswerSet, "tokenized", tokenized)

    def read(prompts: list[Prompt]) -> object:
        return answer_readings(
            tiny.tokenizer(), cast("PromptBatch", SimpleNamespace(prompts=prompts)), {"born": ("Aston",)}
        )

    with pytest.raises(InputError, match="measure prompts that end differently in batches of their own"):
        read(ends)
    assert len(made) == 2
    read(ends[:1] * 3)
    assert len(made) == 3, "prompts that end alike are tokenised once"


def test_rows_that_share_an_id_cannot_be_given_to_others() -> None:
    model, prompts = tiny.both("llama").hooked, tiny.prompts()[:3]
    same = record(model, encode(tiny.tokenizer(), [replace(p, fact_id="") for p in prompts]), "residual")
    assert same.rows(["", "", ""]).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="3 recorded prompts have this id"):
        same.rows([""])


def test_a_prompt_that_begins_with_its_subject_has_no_readout() -> None:
    model, prompts = tiny.both("llama").hooked, tiny.prompts()[:2]
    tokenizer = tiny.tokenizer()
    batch = encode(tokenizer, prompts)
    mask = batch.subject_mask.clone()
    mask[0, 0] = True
    found = value_readout(model, replace(batch, subject_mask=mask), tokenizer, tiny.facts().answer_sets)
    assert found.stored[0].isnan().all()
    assert found.used_total[0].isnan()
    assert found.used_rank[0].eq(-1).all()
    assert found.used_total[1].isfinite()


def test_a_prompt_that_the_model_cannot_read_is_named() -> None:
    model = tiny.both("gpt2").hooked
    limit = model.original_model.config.max_position_embeddings
    long = Prompt(text="Ada " * (limit + 5) + "was", subject=(4, 7), answers=("Aston",), fact_id="q7")
    batch = encode(tiny.tokenizer(), [tiny.prompts()[0], long])
    with pytest.raises(InputError, match=rf"fact 'q7': [\d,]+ tokens, but the model reads {limit}"):
        subject_attention(model, batch)


@pytest.mark.parametrize("layers", [[0.5], [True], 1, "01"])
def test_layers_are_whole_numbers(layers: Any) -> None:
    model = tiny.both("llama").hooked
    with pytest.raises(InputError, match="layers"):
        record(model, tiny.batch(), "residual", layers=layers)


def test_interventions_say_what_they_need() -> None:
    for by in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="give a finite number"):
            Scale(by=by)
    with pytest.raises(InputError, match="give a set of fact ids"):
        Intervention(site="pattern", do=Knockout(), facts="born0")  # type: ignore[arg-type]


def test_a_pair_is_no_model_and_texts_are_no_prompts() -> None:
    pair = CheckpointPair(tiny.tokenizer(), {})
    with pytest.raises(AttributeError, match=r"open one \(with pair\.finetuned\(\) as model\)"):
        subject_attention(pair, tiny.batch())  # type: ignore[arg-type]
    for given in (["a b c"], tiny.tokenizer()):
        with pytest.raises(InputError, match="give a list of Prompt"):
            encode(tiny.tokenizer(), given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"knows": 0}, "knows = 0"),
        ({"knows": 2}, "knows = 2"),
        ({"shots": -1}, "shots = -1"),
        ({"batch_tokens": 0}, "batch_tokens = 0"),
        ({"phrasebook": {}}, "the phrasebook does not word it"),
    ],
)
def test_a_diagnosis_refuses_settings_that_cannot_be(settings: dict[str, Any], problem: str) -> None:
    pair = CheckpointPair(tiny.tokenizer(), {})
    with pytest.raises(InputError, match=re.escape(problem)):
        diagnose(pair, tiny.facts(), **settings)


def test_a_diagnosis_takes_each_fact_once_and_a_prompt_for_each() -> None:
    pair, facts = CheckpointPair(tiny.tokenizer(), {}), tiny.facts()
    prompts = [fact_prompt(fact, tiny.PHRASEBOOK, "{question}") for fact in facts]
    twice = FactSet(facts=(*facts, facts[0]), name="twice")
    none = FactSet(facts=tuple(replace(fact, id="") for fact in facts), name="none")
    for given, asked, problem in (
        (twice, None, "2 have the id 'born0'"),
        (none, None, "20 have the id ''"),
        (facts, prompts[:-2], "not one for each fact, as 'plays8' tells"),
        (facts, [*prompts, prompts[0]], "prompts: 2 have the id 'born0'"),
        (tuple(facts), None, "give a FactSet, .* and no tuple"),
    ):
        with pytest.raises(InputError, match=problem):
            diagnose(pair, given, prompts=asked, phrasebook=tiny.PHRASEBOOK)  # type: ignore[arg-type]
