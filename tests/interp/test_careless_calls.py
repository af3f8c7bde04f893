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
from interp.measures.placebos import wrong_subject
from interp.measures.spans import PromptBatch, encode
from interp.measures.value_readout import value_readout
from interp.models.pair import CheckpointPair
from interp.patching.interventions import Intervention, Knockout, Replace, Scale, layers_of
from interp.patching.patch import patch
from interp.patching.recording import record
from interp.patching.sweeps import sweep
from interp.verdicts.diagnose import diagnose
from interp.weight_edits import scale_subject_attention
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
    same = encode(tiny.tokenizer(), [replace(p, fact_id="q") for p in prompts])
    rows = record(model, same, "residual")
    for ids in (["q", "q", "q"], ["q"]):
        with pytest.raises(InputError, match="fact 'q': 3 prompts have this id"):
            rows.rows(ids)
    put_in = Intervention(site="residual", do=Replace(source=rows))
    with pytest.raises(InputError, match="3 prompts have this id"):
        patch(model, same, put_in, tiny.tokenizer(), max_new_tokens=0)
    with pytest.raises(InputError, match="3 prompts have this id"):
        wrong_subject(same, same)


def test_prompts_without_ids_go_by_their_texts() -> None:
    """The documented call: the last prompt's activations were put into all of them."""
    model, prompts = tiny.both("llama").hooked, [replace(p, fact_id="") for p in tiny.prompts()[:3]]
    batch = encode(tiny.tokenizer(), prompts)
    assert batch.fact_ids == tuple(prompt.text for prompt in prompts)
    turned = record(model, encode(tiny.tokenizer(), prompts[::-1]), "residual", at="all")
    own = Intervention(site="residual", do=Replace(source=turned), at="all")
    effect = patch(model, batch, own, tiny.tokenizer(), max_new_tokens=0).effect
    assert effect.abs().max() < 1e-5


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
    listed = Intervention(site="pattern", do=Knockout(), facts=["born0"])  # type: ignore[arg-type]
    assert listed.facts == {"born0"}
    for do in (Knockout, "zero", None, Scale):
        with pytest.raises(InputError, match=r"give Knockout\(\), Zero\(\)"):
            Intervention(site="pattern", do=do)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="give a finite number"):
        Scale(by="2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"give \(layer, head\) pairs"):
        scale_subject_attention(2.0, heads=[3])  # type: ignore[list-item]


def test_what_is_no_cell_no_window_and_no_role_is_refused() -> None:
    model, cut = tiny.both("llama").hooked, Intervention(site="pattern", do=Knockout(), keys="subject")
    for cells in ("knockout", None, [cut, 3]):
        with pytest.raises(InputError, match="is no Intervention"):
            patch(model, tiny.batch(), cells, tiny.tokenizer())  # type: ignore[arg-type]
    for options, problem in (
        ({"window": 1.5}, "window = 1.5"),
        ({"over": ("position",), "positions": "subject"}, "positions = 'subject': list roles"),
    ):
        with pytest.raises(InputError, match=problem):
            sweep(model, cut, **options)  # type: ignore[arg-type]
    assert layers_of(model, replace(cut, layers=(1, 1))) == (1,), "it would act twice"
    near = sweep(model, replace(cut, layers=(1,)), over=("layer",), window=3)
    assert [layers_of(model, cell[0]) for cell in near.cells] == [(1,)]  # type: ignore[index]


def test_a_position_keeps_something_to_attend_to() -> None:
    model = tiny.both("llama").hooked
    for site, keys in (("pattern", None), ("scores", "all")):
        cut = Intervention(site=site, do=Knockout(), keys=keys)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="nothing to attend to"):
            patch(model, tiny.batch(), cut, tiny.tokenizer(), max_new_tokens=0)


def test_a_cell_whose_logits_are_no_numbers_has_no_rank() -> None:
    much = Intervention(site="residual", do=Scale(by=1e38), at="all")
    found = patch(tiny.both("llama").hooked, tiny.batch()[[0, 1]], much, tiny.tokenizer(), max_new_tokens=0)
    assert found.log_prob.isnan().all()
    assert (found.rank == -1).all()


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


def test_no_prompts_are_refused_where_they_are_chosen() -> None:
    batch = tiny.batch()
    for nothing in ([], slice(0, 0), batch.last < 0):
        with pytest.raises(InputError, match=f"none of {len(batch)} prompts is chosen"):
            batch[nothing]
