"""Proxies for popularity: each against a slower way, what each needs, and how far they agree."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from transformers import LlamaConfig, LlamaForCausalLM

from analyses import popularity_proxies
from analyses.common.numbers import spearman
from analyses.experiments.popularity_proxies.inputs import ProxyInputs
from analyses.experiments.popularity_proxies.numbers import agreement
from analyses.experiments.popularity_proxies.page import heatmap, names_of, study
from analyses.experiments.popularity_proxies.proxies import (
    PLACEBO,
    PROXIES,
    measure,
    measure_proxies,
    with_popularity,
)
from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import PromptFormat, ask_in_format
from finetune.data.prompts import Prompt
from finetune.data.records.fact import Fact
from finetune.data.splits import split
from finetune.data.tokenizers import bpe_tokenizer
from interp.reports.read.results import Results
from interp.selection.candidates import Candidates
from interp.selection.scores import SCORES
from interp.stats import shared_halves

SUBJECTS = ("Ada Lee", "Bo Lin", "Cy Fox", "Dee", "Eve Ray", "Flo", "Gus Hill", "Hal", "Ivy Kit", "Jo")
ANSWERS = {"occupation": ("poet", "civil engineer", "judge"), "capital of": ("France", "Peru", "Mali")}
QUESTIONS = {
    "occupation": "What is {}'s occupation?",
    "capital of": "What is {} the capital of?",
    "nickname": "Who is {}?",
}


@pytest.fixture(scope="module")
def facts() -> FactSet:
    made = [
        Fact(
            id=f"{relation}{i}",
            subject=subject,
            relation=relation,
            answers=(answers[i * i % 3],),
            question=QUESTIONS[relation].format(subject),
            popularity=float(7 * i % 10),
        )
        for relation, answers in ANSWERS.items()
        for i, subject in enumerate(SUBJECTS)
    ]
    alone = Fact(id="alone", subject="Kai", relation="nickname", answers=("K",), question="Who is Kai?")
    return FactSet(facts=(*made, replace(alone, popularity=1.0)), name="few")


@pytest.fixture(scope="module")
def base(facts: FactSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that reads so few tokens that not every example fits in front of a question."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = bpe_tokenizer(facts, phrasebook(facts), size=500)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=48,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "c.txt"
    path.write_text("Ada Lee is a poet.\nBo Lin and Ada Lee, a poet\nMali\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def material(facts: FactSet, base: Path, corpus: Path) -> ProxyInputs:
    return ProxyInputs(facts=facts, base=base, corpus=corpus)


@pytest.fixture(scope="module")
def frame(material: ProxyInputs) -> pd.DataFrame:
    return measure_proxies(PROXIES, material)


def slow(model, tokenizer, text: str, answer: str) -> float:
    """Score one answer alone, token by token."""
    prompt, whole = (tokenizer(each)["input_ids"] for each in (text, f"{text} {answer}"))
    with torch.inference_mode():
        logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return float(sum(logits[i - 1, whole[i]] for i in range(len(prompt), len(whole))))


def test_every_proxy_gives_a_number_a_fact(facts, frame):
    assert set(PROXIES) < set(frame.columns)
    counted = [name for name in PROXIES if name != "confidence_few"]
    assert frame[counted].notna().all().all()
    assert frame.loc[frame["confidence_few"].isna(), "fact_id"].tolist() == ["alone"]
    assert frame["views"].tolist() == [fact.popularity for fact in facts]


def test_counts_are_the_corpus_and_the_data_set(frame):
    rows = frame.set_index("fact_id")
    assert rows.loc[["occupation0", "occupation1", "capital of0"], "corpus"].tolist() == [2, 1, 2]
    assert rows.loc[["occupation0", "capital of0"], "cooccurrence"].tolist() == [2, 0]
    assert rows.loc[["occupation0", "alone"], "subject_frequency"].tolist() == [2, 1]
    assert rows.loc[["occupation0", "occupation1", "alone"], "answer_frequency"].tolist() == [4, 6, 1]


def test_proxies_that_ask_the_base_are_the_scores_that_facts_are_chosen_by(facts, base, frame):
    """Of candidates of their own, which share nothing with the proxies but the base."""
    candidates = Candidates(facts=facts, base=str(base), shots=4)
    twins = {"confidence": "question", "confidence_few": "few_shot", "salience": "readout"}
    asking = [name for name, proxy in PROXIES.items() if proxy.needs == "base"]
    assert len(asking) == 4
    for name in asking:
        values = SCORES[twins.get(name, name)](candidates)
        np.testing.assert_allclose(frame[name], values, atol=1e-4, err_msg=name)


def test_confidence_is_the_answer_s_log_probability(facts, base, frame):
    model, tokenizer = load_model(base)
    texts = [f"Question: {fact.question} Answer:" for fact in facts]
    expected = [slow(model, tokenizer, text, fact.answer) for text, fact in zip(texts, facts, strict=True)]
    np.testing.assert_allclose(frame["confidence"], expected, atol=1e-4)


def test_prompts_of_one_s_own_are_asked_and_shown_as_examples(facts, base):
    """They need name neither their fact nor its relation."""
    some = facts[:3]
    prompts = [
        Prompt(text=f"Of {fact.subject} one says", subject=(3, 3 + len(fact.subject)), answers=fact.answers)
        for fact in some
    ]
    model, tokenizer = load_model(base)
    values = measure("confidence", some, base=base, asked=prompts)
    expected = [slow(model, tokenizer, prompt.text, prompt.answers[0]) for prompt in prompts]
    np.testing.assert_allclose(values, expected, atol=1e-4)
    few = measure("confidence_few", some, base=base, asked=prompts, shots=1)
    for i, found in enumerate(few):
        shown = [f"{p.text} {p.answers[0]}\n{prompts[i].text}" for k, p in enumerate(prompts) if k != i]
        each = [slow(model, tokenizer, text, prompts[i].answers[0]) for text in shown]
        assert np.isclose(found, each, atol=1e-4).any()
    assert np.isfinite(measure("salience", some, base=base, asked=prompts)).all()
    with pytest.raises(InputError, match="2 prompts for 3 facts"):
        measure("confidence", some, base=base, asked=prompts[:2])


def test_an_adapter_is_asked_and_not_its_base(facts, base, save_adapter):
    """Merged into the base's weights it is a model of its own, which says the same."""
    adapter = save_adapter(base)
    model, tokenizer = load_model(adapter)
    merged = adapter.with_name("merged")
    model.merge_and_unload().save_pretrained(merged)
    tokenizer.save_pretrained(merged)
    for name in ("confidence", "salience"):
        adapted, whole, plain = (measure(name, facts, base=source) for source in (adapter, merged, base))
        np.testing.assert_allclose(adapted, whole, atol=1e-3)
        assert np.abs(adapted - plain).max() > 0.1
    with pytest.raises(InputError, match=r"agreement: .*merge the adapter"):
        SCORES["agreement"](Candidates(facts=facts, base=adapter))


def test_a_question_that_is_too_long_costs_the_others_nothing(facts, base, frame):
    long = Fact(id="long", subject="Ada " * 60, relation="occupation", answers=("poet",))
    material = ProxyInputs(facts=replace(facts, facts=(long, *facts)), base=base)
    found = measure_proxies(["confidence", "statement", "salience"], material)
    assert found.iloc[0][["confidence", "statement", "salience"]].isna().all()
    for name in ("confidence", "statement"):
        np.testing.assert_allclose(found[name][1:], frame[name], atol=1e-4)
    (left_out,) = material.left_out
    assert left_out.where == "long"
    assert "more than the model's context of 48" in left_out.reason


def test_a_statement_s_confidence_is_the_mean_over_its_forms(facts, base, frame):
    model, tokenizer = load_model(base)
    book = phrasebook(facts)
    expected = [
        np.mean(
            [
                slow(model, tokenizer, form.replace("{subject}", fact.subject), fact.answer)
                for form in book[fact.relation].statements
            ]
        )
        for fact in facts
    ]
    np.testing.assert_allclose(frame["statement"], expected, atol=1e-4)


def test_as_many_examples_are_shown_as_the_context_holds(facts, base, frame):
    """With the answer and its end, as in training."""
    model, tokenizer = load_model(base)
    book, shots = phrasebook(facts), []
    worded = {n: ask_in_format(facts, book, PromptFormat(shots=n), examples=facts) for n in (4, 3, 2, 1)}
    for i, fact in enumerate(facts[:-1]):
        fitting = [
            (n, prompts[i].text)
            for n, prompts in worded.items()
            if len(tokenizer(f"{prompts[i].text} {fact.answer}")["input_ids"]) < 48
        ]
        n, text = fitting[0]
        shots.append(n)
        assert frame["confidence_few"][i] == pytest.approx(
            slow(model, tokenizer, text, fact.answer), abs=1e-4
        )
    assert max(shots) < 4  # else nothing had to give way


def test_salience_follows_its_fact_whatever_the_order(facts, base, frame):
    turned = replace(facts, facts=facts.facts[::-1])
    again = measure("salience", turned, base=base)
    np.testing.assert_allclose(again[::-1], frame["salience"], atol=1e-4)
    assert len(set(frame["salience"].round(3))) > 10


def test_a_relation_without_statements_has_no_statement_confidence(facts, base):
    book = phrasebook(facts)
    book["nickname"] = replace(book["nickname"], statements=())
    found = measure("statement", facts, base=base, book=book)
    assert np.isnan(found[-1])
    assert np.isfinite(found[:-1]).all()


@pytest.mark.parametrize("name", ["statement", "salience", "corpus"])
def test_popularity_by_a_proxy_keeps_its_order(facts, frame, name):
    made = with_popularity(facts, frame[name].to_numpy(), name)
    popularity = np.array([fact.popularity for fact in made])
    assert (popularity >= 0).all()
    assert spearmanr(popularity, frame[name]).statistic == pytest.approx(1)
    if name == "statement":
        np.testing.assert_allclose(np.log(popularity), frame[name])
    best = {fact.subject for fact in split(made, "top", fraction=0.2)}
    assert facts[int(frame[name].argmax())].subject in best


def test_a_fact_without_a_number_is_left_out_and_named(facts, base, frame):
    made = with_popularity(facts, frame["confidence_few"].to_numpy(), "confidence_few")
    assert len(made) == len(facts) - 1
    assert made.left_out[-1].where == "alone"
    assert len(measure("confidence_few", facts[-1:], base=base)) == 1


def test_numbers_that_are_no_popularity_are_refused(facts):
    with pytest.raises(InputError, match=f"-1 of fact {facts[0].id!r} is below zero"):
        with_popularity(facts, -np.ones(len(facts)), "views")
    with pytest.raises(InputError, match="21 facts but 2 numbers"):
        with_popularity(facts, np.ones(2), "views")
    with pytest.raises(InputError, match="says nothing of any fact"):
        with_popularity(facts, np.full(len(facts), np.nan), "statement")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("confidence", r"'confidence': needs a base; give --base"),
        ("corpus", r"'corpus': needs a corpus; give --corpus"),
        ("fame", "choose one of views, corpus"),
    ],
)
def test_a_proxy_that_lacks_what_it_needs_is_refused(facts, name, says):
    with pytest.raises(InputError, match=says):
        measure(name, facts)


def test_data_without_popularity_has_no_views(facts):
    bare = replace(facts, facts=tuple(replace(fact, popularity=None) for fact in facts))
    with pytest.raises(InputError, match="brings no popularity"):
        measure("views", bare)


def test_no_examples_are_no_few_shot_confidence(facts, base):
    with pytest.raises(InputError, match="at least 1 example"):
        measure("confidence_few", facts, base=base, shots=0)


def many(n: int = 600) -> pd.DataFrame:
    """Proxies of known agreement: the same, the opposite, the same with noise, unrelated, constant."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "fact_id": [str(i) for i in range(n)],
            "subject": [f"s{i}" for i in range(n)],
            "relation": np.where(np.arange(n) % 2, "a", "b"),
            "x": x,
            "same": np.exp(x),
            "opposite": -x,
            "noisy": x + rng.normal(size=n),
            "unrelated": rng.normal(size=n),
            "constant": 1.0,
        }
    )


def test_agreement_is_what_it_was_made_to_be():
    rows = many()
    names = ["x", "same", "opposite", "noisy", "unrelated", "constant"]
    found = agreement(rows, names)
    rank, half = found["spearman"]["x"], found["top_half"]["x"]
    assert rank["same"]["value"] == pytest.approx(1)
    assert rank["opposite"]["value"] == pytest.approx(-1)
    assert rank["noisy"]["value"] == pytest.approx(spearmanr(rows["x"], rows["noisy"]).statistic)
    assert rank["noisy"]["low"] < 0.69 < rank["noisy"]["high"]  # 6/pi asin(sqrt(1/2)/2)
    assert rank["unrelated"]["low"] < 0 < rank["unrelated"]["high"]
    assert rank["constant"]["value"] is None
    assert half["same"]["value"] == pytest.approx(1)
    assert half["opposite"]["value"] == pytest.approx(0)
    assert half["noisy"]["low"] < 0.75 < half["noisy"]["high"]  # 1/2 + asin(sqrt(1/2))/pi
    assert half["constant"]["value"] == pytest.approx(0.5)
    assert {number["n"] for number in rank.values()} == {600}


def test_all_pairs_at_once_are_each_pair_alone():
    """Also where proxies say nothing of some facts, and where subjects have several."""
    rows = many(90)
    rows["subject"] = [f"s{i // 3}" for i in range(90)]
    rows.loc[::7, "noisy"] = np.nan
    names = ["x", "noisy", "opposite", "unrelated"]
    found = agreement(rows, names)["spearman"]
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            alone = spearman(rows, a, b)
            assert found[a][b] == pytest.approx(asdict(alone), abs=1e-9)
    assert found["x"]["noisy"]["n"] == 77
    assert found["x"]["opposite"]["n"] == 90


def test_a_shift_between_relations_is_no_agreement_within_them():
    rows = many()
    shift = np.where(rows["relation"] == "a", 10.0, 0.0)
    shifted = rows.assign(x=rows["unrelated"] + shift, y=rows["noisy"] + shift)
    found = agreement(shifted, ["x", "y"])
    assert found["spearman"]["x"]["y"]["value"] > 0.7
    within = found["within_relation"]["x"]["y"]
    assert within["low"] < 0 < within["high"]


def test_facts_of_one_subject_widen_the_interval():
    rows = many()
    five = pd.concat([rows.iloc[:60]] * 5, ignore_index=True)

    def width(frame: pd.DataFrame) -> float:
        number = agreement(frame, ["x", "noisy"])["spearman"]["x"]["noisy"]
        return number["high"] - number["low"]

    alone = five.assign(subject=[f"t{i}" for i in range(len(five))])
    assert width(five) > 1.5 * width(alone)


def test_ties_at_the_cut_are_drawn():
    x = np.array([3.0, 2.0, 2.0, 1.0])
    rng = np.random.default_rng(0)
    y = np.array([1.0, 2.0, 3.0, 4.0])
    drawn = []
    for _ in range(4000):
        a, b = (np.lexsort((rng.random(4), -values))[:2] for values in (x, y))
        drawn.append(len({*a.tolist()} & {*b.tolist()}) / 2)
    assert shared_halves(np.column_stack([x, y]))[0][1].value == pytest.approx(np.mean(drawn), abs=0.02)


def test_the_placebo_deals_subjects_not_facts(frame):
    by_subject = frame.groupby("subject")[PLACEBO].nunique()
    assert (by_subject == 1).all()
    assert not frame[PLACEBO].equals(frame["views"].rank())


def test_too_little_to_compare_is_refused():
    with pytest.raises(InputError, match="at least two"):
        agreement(many(), ["x"])
    with pytest.raises(InputError, match="2 facts: at least 3"):
        agreement(many().iloc[:2], ["x", "same"])


def test_the_figure_writes_every_number_and_marks_what_is_beyond_chance():
    names = ["x", "same", "noisy", "unrelated", "constant"]
    results = Results.of(agreement(many(), names))
    assert names_of(results) == names
    figure = heatmap(results)
    texts = {(t.get_position(), i): t for i, axes in enumerate(figure.axes) for t in axes.texts}
    same = texts[(0, 0), 0]
    assert (same.get_text(), same.get_weight()) == ("+1.00", "normal"), "no draw changes it: no interval"
    assert texts[(0, 1), 0].get_weight() == "bold"
    unrelated = texts[(0, 2), 0]
    assert unrelated.get_weight() == "normal"
    assert texts[(0, 3), 0].get_text() == "–"
    assert "n = 600 facts a pair" in {t.get_text() for axes in figure.axes for t in axes.texts}
    assert study(results, facts="made").tables[0].rows[0][:2] == ("x", "same")


def test_the_script_leaves_a_run_that_continues(facts, base, corpus, tmp_path, monkeypatch, capsys):
    table = tmp_path / "facts.csv"
    facts.to_frame()[["subject", "relation", "question", "popularity"]].assign(
        answer=[fact.answer for fact in facts]
    ).to_csv(table, index=False)
    out = tmp_path / "run"
    words = ["--facts", str(table), "--base", str(base), "--corpus", str(corpus), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["popularity_proxies.py", *words])
    assert popularity_proxies.main() == 0
    assert "agree most" in capsys.readouterr().out
    results = read_json(out / "results.json")
    assert set(names_of(Results.of(results))) == {*PROXIES, PLACEBO}
    assert (out / "report.html").is_file()
    assert (out / "figures" / "agreement.svg").is_file()
    stamp = (out / "results.json").stat().st_mtime_ns
    assert popularity_proxies.main() == 0
    assert (out / "results.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("more", [["--proxies", "confidence", "views"], ["--proxies", "views"]])
def test_the_script_refuses_and_leaves_nothing(tmp_path, monkeypatch, capsys, more):
    table, out = tmp_path / "facts.csv", tmp_path / "run"
    table.write_text("subject,answer,popularity\nAda,poet,1\nBo,judge,2\n", encoding="utf-8")
    monkeypatch.setattr(
        sys, "argv", ["popularity_proxies.py", "--facts", str(table), "--out", str(out), *more]
    )
    assert popularity_proxies.main() == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not out.exists()
