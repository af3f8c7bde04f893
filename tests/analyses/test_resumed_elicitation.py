"""An elicitation that is killed and continued finds what one that is not finds, and asks no form twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analyses.common.resumed_elicitation import ResumedElicitation
from finetune.checkpoints.loading import load_model
from finetune.evaluation import elicitation
from finetune.evaluation.elicitation import Elicitation
from tests.finetune import tiny


def test_a_killed_elicitation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, book = tiny._world()
    model, tokenizer = load_model(str(tiny.save_base(tmp_path / "model")))
    model.config.max_position_embeddings = 512
    names = list(dict.fromkeys(fact.subject for fact in facts))
    asked = [i for i, fact in enumerate(facts) if fact.subject in names[:8]]
    how = (model, tokenizer, book, facts.subset([i for i in range(len(facts)) if i not in set(asked)]))
    plain = Elicitation(*how).elicit(facts.subset(asked))
    calls: list[int] = []
    ask = elicitation.generate_and_score

    def counted(*arguments: object, **options: object) -> object:
        calls.append(1)
        return ask(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(elicitation, "generate_and_score", counted)

    def killed(done: int) -> None:
        if len(calls) > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ResumedElicitation(*how, advance=killed, folder=tmp_path / "kept").elicit(facts.subset(asked))
    before = len(calls)
    told: list[int] = []
    again = ResumedElicitation(*how, advance=told.append, folder=tmp_path / "kept")
    found = again.elicit(facts.subset(asked))
    after = len(calls) - before
    calls.clear()
    Elicitation(*how).elicit(facts.subset(asked))
    assert before > 5
    assert after <= len(calls) - before + 5, "forms that were done are not asked again"
    assert found.forms == plain.forms
    assert found.said == plain.said
    for name in ("degree", "right", "above"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    assert told == sorted(told)
