"""Specificity against a slow loop over facts: in any parts, with references alone making the baseline."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from interp.measures.answer_sets import AnswerSet, answer_readings
from interp.measures.spans import PromptBatch
from interp.patching.interventions import Intervention, Knockout
from interp.verdicts import specificity
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.specificity import AnswerTargets, SpecificityAccumulator
from tests.interp import measuring_fixtures as tiny

ANSWERS = 6


def golds(n: int, reference: torch.Tensor | None = None, seed: int = 0) -> AnswerTargets:
    generator = torch.Generator().manual_seed(seed)
    sets = {
        name: AnswerSet(
            readings=tuple((i,) for i in range(ANSWERS)),
            place={str(i): i for i in range(ANSWERS)},
            collisions=(),
        )
        for name in ("a", "b")
    }
    right = torch.randint(ANSWERS, (n,), generator=generator)
    return AnswerTargets(
        sets=sets,
        relation=torch.arange(n) % 2,
        right=right,
        decoy=(right + 1) % ANSWERS,
        reference=torch.ones(n, dtype=torch.bool) if reference is None else reference,
    )


def by_hand(scores: torch.Tensor, known: AnswerTargets, fact: int, answer: int) -> float:
    """Divide each answer's probability by its mean over references with another answer, and renormalise."""
    posterior = []
    for a in range(ANSWERS):
        others = [
            scores[j, a].exp().item()
            for j in range(len(scores))
            if known.reference[j] and known.relation[j] == known.relation[fact] and known.right[j] != a
        ]
        if len(others) < specificity.FEWEST_OTHERS:
            posterior.append(0.0)
            continue
        posterior.append(scores[fact, a].exp().item() / (sum(others) / len(others)))
    return math.log(posterior[answer] / sum(posterior)) if posterior[answer] else math.nan


@pytest.mark.parametrize("parts", [1, 3])
def test_it_is_the_renormalised_ratio_to_other_subjects(parts: int) -> None:
    n = 40
    known = golds(n, reference=torch.arange(n) < 30)
    scores = torch.randn(n, ANSWERS, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    tally = SpecificityAccumulator(known, 1)
    for rows in (*torch.arange(30).split(30 // parts), *torch.arange(30, n).split(10 // parts)):
        if int(rows[0]) >= 30:
            tally.finish()
        for relation, here in known.by_relation(rows):
            tally.add(relation, torch.zeros_like(here), rows[here], scores[rows[here]])
    for fact in range(n):
        expected = by_hand(scores, known, fact, int(known.right[fact]))
        assert float(tally.right[0, fact]) == pytest.approx(expected, abs=1e-5)
        decoy = by_hand(scores, known, fact, int(known.decoy[fact]))
        assert float(tally.decoy[0, fact]) == pytest.approx(decoy, abs=1e-5)
        all_answers = [by_hand(scores, known, fact, answer) for answer in range(ANSWERS)]
        assert float(tally.rank[0, fact]) == pytest.approx(sum(a >= expected for a in all_answers) / ANSWERS)
        assert bool(tally.first[0, fact]) == (expected == max(all_answers))


def test_an_answer_said_of_any_subject_tells_nothing() -> None:
    known = golds(60)
    scores = torch.log_softmax(torch.arange(ANSWERS).float(), -1).expand(60, -1)
    tally = SpecificityAccumulator(known, 1)
    for relation, here in known.by_relation(torch.arange(60)):
        tally.add(relation, torch.zeros_like(here), here, scores[here])
    tally.finish()
    torch.testing.assert_close(tally.right[0], torch.full((60,), -math.log(ANSWERS)), atol=1e-5, rtol=0)


def test_what_is_no_number_or_has_too_few_others_is_missing() -> None:
    known = golds(60)
    scores = torch.randn(60, ANSWERS).log_softmax(-1)
    scores[3] = torch.nan
    tally = SpecificityAccumulator(known, 1)
    for relation, here in known.by_relation(torch.arange(60)):
        tally.add(relation, torch.zeros_like(here), here, scores[here])
    tally.finish()
    assert tally.right[0].isnan().nonzero().flatten().tolist() == [3]
    assert tally.rank[0].isnan().nonzero().flatten().tolist() == [3]
    few = golds(8)
    tally = SpecificityAccumulator(few, 1)
    for relation, here in few.by_relation(torch.arange(8)):
        tally.add(relation, torch.zeros_like(here), here, scores[:8][here])
    tally.finish()
    assert tally.right.isnan().all()
    assert tally.rank.isnan().all()


def test_an_answer_that_was_not_edited_is_nobodys_placebo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell meant for some facts says nothing of the others, nor are they what it compares with."""
    monkeypatch.setattr(specificity, "FEWEST_OTHERS", 1)
    batch, tokenizer, model = tiny.batch(), tiny.tokenizer(), tiny.both("llama").hooked
    sets = {relation: tiny.facts().answer_set(relation) for relation in tiny.ANSWERS}
    some = torch.tensor([0, 1, 2, 3, 12, 13, 14, 15])
    cut = Intervention(site="pattern", do=Knockout(), keys="subject")
    for_some = replace(cut, facts=frozenset(batch.fact_ids[i] for i in some.tolist()))

    def asked(part: PromptBatch, cell: Intervention) -> AnswerScorer:
        golds = AnswerTargets.of(part, answer_readings(tokenizer, part, sets, "distinct"))
        asker = AnswerScorer(part, golds, tokenizer, cells=1, say=True)
        asker.ask(model, torch.arange(len(part)), [cell], batch_tokens=400)
        asker.tally.finish()
        return asker

    whole, alone = asked(batch, for_some), asked(batch[some], cut)
    others = torch.ones(len(batch), dtype=torch.bool)
    others[some] = False
    for name in ("right", "log_prob"):
        assert getattr(whole, name)[1, others].isnan().all()
        assert getattr(whole, name)[0].isfinite().all()
        torch.testing.assert_close(getattr(whole, name)[1, some], getattr(alone, name)[1])
    assert whole.tally.right[1, others].isnan().all()
    torch.testing.assert_close(whole.tally.right[1, some], alone.tally.right[1], equal_nan=True)
