"""The same rows through EleutherAI's lm-evaluation-harness and through this package: the same numbers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import datasets
import lm_eval
import numpy as np
import pytest
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.data.prompts import Prompt
from finetune.evaluation.exact_match import matches
from finetune.evaluation.generate import generate, score
from finetune.evaluation.multiple_choice import pick_choices
from tests import architectures, tokenizer_families

LETTERS = ("A", "B", "C", "D")
CITIES = ("Warsaw", "the city of Paris", "東京", "Zoë Québec", "O'Neill, 1984")
PEOPLE = ("Marie Curie", "Ada", "George Rankin", "Müller", "Tokyo Tower", "Batman", "O'Neill", "The Eiffel")


def by_letter(i: int) -> Prompt:
    """Word a row as MMLU is asked: the options in the prompt, the answer a letter."""
    options = [CITIES[(i + k) % len(CITIES)] for k in range(4)]
    shown = "\n".join(f"{letter}. {city}" for letter, city in zip(LETTERS, options, strict=True))
    text = f"Where was {PEOPLE[i % 8]} born?\n{shown}\nAnswer:"
    return Prompt(text=text, subject=(10, 11), answers=(LETTERS[i % 4],), choices=LETTERS, fact_id=str(i))


def by_text(i: int) -> Prompt:
    """Word a row with its options as continuations, of different lengths."""
    right = CITIES[i % len(CITIES)]
    text = f"Question: In what city was {PEOPLE[i % 8]} born? ({i}) Answer:"
    return Prompt(text=text, subject=(10, 11), answers=(right,), choices=CITIES, fact_id=str(i))


ROWS = {"letter": [by_letter(i) for i in range(20)], "text": [by_text(i) for i in range(40)]}


@dataclass(frozen=True)
class Both:
    """One checkpoint on disk, opened by both programs."""

    model: torch.nn.Module
    tokenizer: object
    harness: HFLM


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    """The harness asks git, pip and the hardware what they are; no number depends on it."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)


@pytest.fixture(scope="module", params=["byte_level_bpe", "metaspace_bpe"])
def both(request, tmp_path_factory) -> Both:
    """Pretrain a small Llama on half of the rows' answers, so that it is right about some of them."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = tokenizer_families.build(request.param, folder, bos=True)
    model = architectures.build("llama", len(tokenizer), max_position_embeddings=512)
    rows = [p for kind in ROWS.values() for p in kind[: len(kind) // 2]]
    texts = [f"{p.text} {p.answers[0]}\n{tokenizer.eos_token}" for p in rows]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(60):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    harness = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=8, max_length=512)
    return Both(
        AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder), harness
    )


def run_harness(harness: HFLM, prompts: list[Prompt], **settings):
    """Let the harness score prompts as a task of its own; returns (metrics, one sample a prompt)."""
    rows = [
        {
            "text": p.text,
            "choices": list(p.choices),
            "gold": p.choices.index(p.answers[0]),
            "answer": p.answers[0],
        }
        for p in prompts
    ]
    data = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})

    class Task(ConfigurableTask):
        def __init__(self):
            super().__init__(
                config={
                    "task": "ours",
                    "custom_dataset": lambda **_: data,
                    "test_split": "test",
                    "doc_to_text": "{{text}}",
                    **settings,
                }
            )

    # Left to itself the harness reads its 14,000 task files each time.
    found = lm_eval.simple_evaluate(
        model=harness,
        tasks=[Task()],
        task_manager=TaskManager(include_defaults=False),
        num_fewshot=0,
        log_samples=True,
        bootstrap_iters=0,
        verbosity="ERROR",
    )
    samples = sorted(found["samples"]["ours"], key=lambda sample: sample["doc_id"])
    return found["results"]["ours"], samples


@pytest.mark.parametrize("kind", ROWS)
def test_multiple_choice_agrees(both, kind):
    prompts = ROWS[kind]
    metrics, samples = run_harness(
        both.harness,
        prompts,
        output_type="multiple_choice",
        doc_to_target="gold",
        doc_to_choice="choices",
        metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
    )
    ours = pick_choices(both.model, both.tokenizer, prompts)
    theirs = [np.array([response[0][0] for response in s["resps"]], dtype=float) for s in samples]
    assert len(theirs) == len(prompts)
    for mine, other in zip(ours.log_prob, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)
    assert ours.picked.tolist() == [values.argmax() for values in theirs]
    assert ours.correct.tolist() == [s["acc"] == 1 for s in samples]
    assert ours.correct_normalised.tolist() == [s["acc_norm"] == 1 for s in samples]
    assert ours.correct.mean() == pytest.approx(metrics["acc,none"])
    assert ours.correct_normalised.mean() == pytest.approx(metrics["acc_norm,none"])
    assert 0 < ours.correct.mean() < 1  # else agreement would say little


def test_an_answer_s_log_probability_agrees(both):
    """PopQA-style: each question with its own answer as the only continuation."""
    prompts = ROWS["text"]
    requests = [
        lm_eval.api.instance.Instance(
            request_type="loglikelihood", doc={}, arguments=(p.text, f" {p.answers[0]}"), idx=0
        )
        for p in prompts
    ]
    theirs = both.harness.loglikelihood(requests, disable_tqdm=True)
    np.testing.assert_allclose(
        score(both.model, both.tokenizer, prompts)[0], [each[0] for each in theirs], atol=1e-4
    )


def test_greedy_answers_agree(both):
    """PopQA-style generation to the line's end; their exact match knows no accepted aliases."""
    prompts = ROWS["text"]
    metrics, samples = run_harness(
        both.harness,
        prompts,
        output_type="generate_until",
        doc_to_target="answer",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 16, "do_sample": False},
        metric_list=[{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True}],
    )
    ours = generate(both.model, both.tokenizer, prompts, max_new_tokens=16)
    theirs = [sample["resps"][0][0] for sample in samples]
    assert ours == [text.strip() for text in theirs]
    right = [matches(text, p.answers) for text, p in zip(ours, prompts, strict=True)]
    assert 0 < np.mean(right) < 1
    # Their exact match compares with the space that a generation begins with, so nothing is equal.
    assert metrics["exact_match,none"] == 0
    assert np.mean(right) == np.mean(
        [t.strip() == p.answers[0] for t, p in zip(theirs, prompts, strict=True)]
    )


def test_the_boundary_is_where_the_two_may_differ(both):
    """A prompt that ends in a space: theirs moves it to the answer, as ours has it for a tidy prompt."""
    request = lm_eval.api.instance.Instance(
        request_type="loglikelihood", doc={}, arguments=("Where? Answer: ", "Warsaw"), idx=0
    )
    moved = both.harness.loglikelihood([request], disable_tqdm=True)[0][0]
    tidy = Prompt(text="Where? Answer:", subject=(0, 5), answers=("Warsaw",))
    np.testing.assert_allclose(score(both.model, both.tokenizer, [tidy])[0], [moved], atol=1e-4)


def test_the_harness_reads_bos_as_the_tokenizer_says(both):
    """Both leave it to the tokenizer; told otherwise the harness gives other numbers."""
    folder = Path(both.tokenizer.name_or_path)
    without = HFLM(
        pretrained=str(folder),
        dtype="float32",
        device="cpu",
        batch_size=8,
        add_bos_token=False,
        max_length=512,
    )
    text = ROWS["text"][0].text
    assert both.harness.tok_encode(text) == both.tokenizer(text)["input_ids"]
    assert without.tok_encode(text) == both.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert without.tok_encode(text) != both.harness.tok_encode(text)
