"""What a base knows, by all forms and by all but one: hand-made tables of answers against a slower way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from interp.verdicts import base_knowledge as module
from interp.verdicts.base_knowledge import BaseKnowledge, KnownFacts, base_knowledge

NAN = np.nan


class Scorer:
    """Stands in for asking a model: a form's "batch" is the table of what comes of it."""

    def __init__(self, batch: Any, golds: object, tokenizer: object) -> None:
        self.right, self.said = batch.right, [""] * len(batch.right)
        self.tally = SimpleNamespace(first=batch.first, rank=batch.rank)

    def ask(self, model: object, **how: object) -> None: ...


class Asked(SimpleNamespace):
    fact_ids = ("a", "b", "c", "d")

    def __len__(self) -> int:
        return len(self.right)


def answers(right: Sequence[float], first: Sequence[bool] | None = None, rank: float = 0.5) -> Asked:
    values = torch.tensor(right, dtype=torch.float32)
    tied = values > 0 if first is None else torch.tensor(first)
    return Asked(right=values, first=tied, rank=torch.full((len(values),), rank))


def form(right: Sequence[float], **how: Any) -> Any:
    """A form of the facts that are not NaN."""
    owner = [i for i, value in enumerate(right) if not np.isnan(value)]
    return answers([right[i] for i in owner], **how), None, torch.tensor(owner)


@contextmanager
def opened() -> Iterator[None]:
    yield None


def told(
    forms: Sequence[Any], evidence: Sequence[Any], asked: Asked | None = None, known: Any = None
) -> BaseKnowledge:
    pair: Any = SimpleNamespace(base=opened, tokenizer=None)
    golds: Any = None
    of_all: Any = asked or answers([0, 0, 0, 0])
    return base_knowledge(pair, of_all, golds, forms, evidence, known, batch_tokens=1)


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AnswerScorer", Scorer)


def test_each_form_is_held_against_all_others() -> None:
    table = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], float)  # right in 0, 1, 2 and 3 forms
    forms = [form(row) for row in table]
    base = told(forms, forms)
    assert base.share.tolist() == pytest.approx(table.mean(0).tolist())
    assert base.never.tolist() == [True, False, False, False]
    others = np.stack([np.delete(table, k, 0).mean(0) for k in range(3)], axis=1)
    np.testing.assert_allclose(base.share_apart.numpy(), others)
    assert np.array_equal(base.never_apart.numpy(), others == 0)
    assert np.array_equal(base.specific_apart.numpy(), others > 0)
    assert base.has_others.all()
    asked = told(forms, forms, answers([1, 0, 0, 0]))
    assert not asked.never.any()
    assert asked.never_apart.tolist() == [[False] * 3, [True, False, False], [False] * 3, [False] * 3]
    assert asked.specific.tolist() == [True] * 4


def test_a_form_behind_examples_is_held_against_all_statements() -> None:
    forms = [form([0, 1, 1, 1]), form([0, 0, 1, 1]), form([0, 0, 0, 1])]
    base = told(forms, [*forms, form([0, 0, 0, 0])])
    assert torch.equal(base.share_apart[:, 3], base.share)
    assert torch.equal(base.never_apart[:, 3], base.never)


def test_the_only_form_of_a_relation_or_a_fact_has_no_others() -> None:
    forms = [form([0, 1, 0, 1]), form([NAN, NAN, 0, 1]), form([NAN, NAN, 0, NAN])]
    base = told(forms, [*forms, form([0, 0, NAN, NAN])])
    assert base.share.tolist() == [0, 1, 0, 1]
    assert base.has_others[:, 0].tolist() == [False, False, True, True]
    assert base.has_others[:, 3].all()
    assert not base.share_apart[1, 0], "what only the form itself says is not known beside it"


def test_the_chance_test_is_of_the_forms_that_are_meant() -> None:
    """Ranks of 0.2, 0 and 0 and as asked 0: at chance by all on average, not without the first."""
    forms = [form([0] * 4, rank=0.2), form([0] * 4, rank=0.0), form([0] * 4, rank=0.0)]
    asked = answers([0] * 4, rank=0.0)
    base = told(forms, forms, asked)
    assert base.rank.tolist() == pytest.approx([0.05] * 4)
    assert base.never_apart[0].tolist() == [False, True, True]
    far = told([form([0] * 4, rank=0.3), *forms[1:]], forms, asked)
    assert far.never.all()


def test_an_answer_that_is_only_common_is_not_specific() -> None:
    forms = [form([1] * 4, first=[True, False, False, False]), form([1] * 4, first=[False] * 4)]
    base = told(forms, forms)
    assert base.specific.tolist() == [True, False, False, False]
    assert base.specific_apart[0].tolist() == [False, True], "tied in the first form alone"


@pytest.mark.parametrize("forms", [[], [form([1, 0, 0, 0])]])
@pytest.mark.parametrize("prompts", [0, 2])
def test_what_was_found_elsewhere_is_said_of_every_form(forms: list[Any], prompts: int) -> None:
    ids = Asked.fact_ids
    known = KnownFacts(
        known={i: i in "bc" for i in ids},
        never={i: i in "ad" for i in ids},
        specific={i: i == "c" for i in ids},
    )
    base = told(forms, [form([0] * 4)] * prompts, known=known)
    assert base.elicited
    assert base.share.tolist() == [0, 1, 1, 0]
    assert base.never.tolist() == [not forms, False, False, True]
    assert base.share_apart.shape == (4, prompts)
    for k in range(prompts):
        assert torch.equal(base.share_apart[:, k], base.share)
        assert torch.equal(base.never_apart[:, k], base.never)
        assert torch.equal(base.specific_apart[:, k], base.specific)
        assert base.has_others[:, k].all()
