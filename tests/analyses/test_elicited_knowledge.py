"""What is shown is not asked; what cannot be measured is said at once; models are asked as trained."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analyses.common.elicited_knowledge import (
    FEWEST_EXAMPLES,
    evidence_forms,
    say_if_form_fails,
    say_what_is_amiss,
    set_examples_aside,
)
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions, asking_format
from analyses.experiments.attention_imbalance.seed_stages import AnswerCheck
from finetune.__main__ import Options
from finetune.common.command_line import renamed
from finetune.common.errors import InputError
from finetune.common.progress import Notice
from finetune.data.facts import FactSet
from finetune.data.prompt_formats import PromptFormat
from finetune.data.records.fact import Fact
from finetune.evaluation.asking_forms import AskingForm
from finetune.training.training_format import format_of, write_format


def facts(n: int, relation: str = "capital", start: int = 0) -> FactSet:
    made = (
        Fact(id=f"{relation}{i}", subject=f"S{i}", relation=relation, answers=(f"A{i % 5}",))
        for i in range(start, start + n)
    )
    return FactSet(facts=tuple(made), name="made")


def test_spare_facts_are_shown_before_any_that_could_be_asked() -> None:
    asked, examples = set_examples_aside(facts(40), tuple(facts(100)))
    assert len(asked) == 40
    assert {f.subject for f in examples}.isdisjoint({f.subject for f in asked})
    assert len(examples) == 60


@pytest.mark.parametrize(("n", "shown"), [(40, 10), (100, FEWEST_EXAMPLES), (3, 0)])
def test_without_spare_facts_some_are_set_aside_and_said(n: int, shown: int) -> None:
    given = facts(n)
    asked, examples = set_examples_aside(given, ())
    assert len(examples) == shown
    assert len(asked) == n - shown
    assert {f.subject for f in examples}.isdisjoint({f.subject for f in asked})
    assert {item.where for item in asked.left_out} == {f.id for f in examples}
    assert set_examples_aside(given, ()) == (asked, examples), "the same on every start"


def amiss(
    degrees: list[str], known: list[bool], correct: list[bool], given: list[str], *, train: int = 0
) -> list[str]:
    knowledge = pd.DataFrame({"base_degree": degrees, "known": known, "base_above": np.nan})
    base = pd.DataFrame({"correct": correct, "given": given})
    checkpoints: Any = SimpleNamespace(known_cut="maybe", sizes={"train": train})
    with pytest.warns(Notice) as found:
        say_what_is_amiss(checkpoints, knowledge, base)
    return [str(one.message) for one in found]


def test_what_cannot_be_measured_is_said_with_the_remedy() -> None:
    n = 100
    (none,) = amiss(["WeaklyKnown"] * n, [False] * n, [False] * n, [str(i) for i in range(n)])
    assert "knows none of these 100 facts" in none
    assert "--known weakly" in none
    said = amiss(["HighlyKnown"] * n, [True] * n, [False] * n, ["France"] * n)
    assert any(
        "as asked, the base answers 0 of 100 facts right, but it knows 100" in s and "--shots" in s
        for s in said
    )
    assert any("100 of the base's 100 answers are 'France'" in s for s in said)
    assert any("only 0 facts are right in no form of the base" in s for s in said)
    said = amiss(["HighlyKnown"] * n, [True] * n, [False] * n, ["France"] * n, train=70)
    assert any("but it knows 100" in s and "--shots" not in s for s in said), "arms that are trained here"


def test_a_model_that_the_asked_form_fails_is_named() -> None:
    checkpoints: Any = SimpleNamespace(sizes={"train": 0})
    right, given = pd.Series([True] + [False] * 99), pd.Series(["A:"] * 100)
    with pytest.warns(Notice) as found:
        say_if_form_fails(checkpoints, "lora", 60, right, given)
    said = [str(one.message) for one in found]
    assert "lora answers 1 of 100 facts right, but the base knows 60; ask as it was trained" in said[0]
    assert "100 of lora's 100 answers are 'A:'" in said[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say_if_form_fails(checkpoints, "lora", 60, pd.Series([True, False] * 50), pd.Series(range(100)))


def test_every_arm_is_checked_as_soon_as_it_was_asked() -> None:
    answers = pd.DataFrame({"correct": [False] * 50, "given": [str(i) for i in range(50)]})
    stages: Any = SimpleNamespace(
        checkpoints=SimpleNamespace(sizes={}),
        known=SimpleNamespace(due=False, read=lambda: pd.DataFrame({"known": [True] * 20 + [False] * 30})),
        answers=lambda name: SimpleNamespace(read=lambda: answers),
    )
    with pytest.warns(Notice, match="lora answers 0 of 50 facts right, but the base knows 20; ask as it was"):
        AnswerCheck(stages, "lora", due=True).write(None)


def own(*finetuned: str, **more: Any) -> AttentionImbalanceOptions:
    return AttentionImbalanceOptions(base="b", facts="f.csv", finetuned=finetuned, **more)


def test_checkpoints_are_asked_as_they_were_trained(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for place, style in ((one, PromptFormat(shots=2)), (other, PromptFormat(chat=True))):
        (place / "lr-1e-3").mkdir(parents=True)
        write_format(place, style)
    assert format_of(one / "lr-1e-3") == format_of(one) == PromptFormat(shots=2)
    assert format_of(tmp_path / "nowhere") is None
    assert asking_format(own(f"a={one}")) == PromptFormat(shots=2)
    assert asking_format(own(f"a={one}", chat=True)) == PromptFormat(chat=True), "what is told goes first"
    assert asking_format(own(f"a={tmp_path}")) == PromptFormat()
    with pytest.raises(InputError, match="trained in different formats"):
        asking_format(own(f"a={one}", f"b={other}"))
    (one / "prompt_format.json").write_text("[]")
    with pytest.raises(InputError, match="is damaged"):
        format_of(one)


def test_one_option_goes_by_both_of_its_names() -> None:
    words = ["--template", "Q: {question}", "--template=x", "--shots", "2"]
    assert renamed(words, AttentionImbalanceOptions) == [
        "--prompt-format",
        "Q: {question}",
        "--prompt-format=x",
        "--shots",
        "2",
    ]
    for name in ("--prompt-format", "--template"):
        assert renamed([name, "x", "--tune-steps=3"], Options) == ["--prompt-format", "x", "--steps=3"]


def test_how_ones_own_are_asked_goes_with_a_base() -> None:
    for name, value, mate in (
        ("shots", 2, "finetuned"),
        ("chat", True, "finetuned"),
        ("known", "highly", "base"),
    ):
        with pytest.raises(InputError, match=f"--{name}.*goes with --{mate}"):
            AttentionImbalanceOptions(**{name: value}).check()  # type: ignore[arg-type]
    assert "shots" not in AttentionImbalanceOptions().config()
    assert own("a=x").config()["known"] == "maybe"


@pytest.mark.parametrize(
    ("kept", "examples", "expected"),
    [
        (["question, 4 examples"], 16, ["question, 4 examples"]),
        (["question", "statement 1, 8 examples"], 16, ["question, 2 examples", "statement 1, 8 examples"]),
        (["question", "question, 2 examples"], 16, ["question, 2 examples"]),
        (["question"], 2, ["statement 2"]),
    ],
)
def test_evidence_has_other_examples_or_another_form(
    kept: list[str], examples: int, expected: list[str]
) -> None:
    others = [AskingForm.parse(text) for text in ("chat, 2 examples", "statement 2", "chat")]
    found = evidence_forms([AskingForm.parse(text) for text in kept], others, examples)
    assert [str(form) for form in found] == expected
