"""Specificity against a slow loop over facts: in any parts, with references alone making the baseline."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from interp.measures.answer_sets import AnswerSet
from interp.verdicts import specificity
from interp.verdicts.continuations import UsualContinuations
from interp.verdicts.specificity import AnswerTargets, SpecificityAccumulator

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
        place=right,
        accepted=tuple((int(i),) for i in right),
        reference=torch.ones(n, dtype=torch.bool) if reference is None else reference,
        sample=torch.zeros(n, dtype=torch.bool),
        tokens=tuple((int(i),) for i in right),
    )


def by_hand(scores: torch.Tensor, known: AnswerTargets, fact: int, answer: int) -> float:
    """Divide each answer's probability by its mean over references with another answer, and renormalise."""
    posterior = []
    for a in range(ANSWERS):
        others = [
            scores[j, a].exp().item()
            for j in range(len(scores))
            if known.reference[j] and known.relation[j] == known.relation[fact] and known.place[j] != a
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
    tally = SpecificityAccumulator(known)
    for rows in (*torch.arange(30).split(30 // parts), *torch.arange(30, n).split(10 // parts)):
        if int(rows[0]) >= 30:
            tally.finish()
        for relation, here in known.by_relation(rows):
            tally.add(relation, rows[here], scores[rows[here]])
    for fact in range(n):
        expected = by_hand(scores, known, fact, int(known.place[fact]))
        assert float(tally.specificity[fact]) == pytest.approx(expected, abs=1e-5)
        all_answers = [by_hand(scores, known, fact, answer) for answer in range(ANSWERS)]
        assert float(tally.rank[fact]) == pytest.approx(sum(a >= expected for a in all_answers) / ANSWERS)
        assert bool(tally.first[fact]) == (expected == max(all_answers))


def test_another_accepted_answer_is_no_rival_and_the_most_specific_one_counts() -> None:
    one = golds(60)
    both = replace(one, accepted=tuple((int(i), (int(i) + 1) % ANSWERS) for i in one.place))
    scores = torch.randn(60, ANSWERS, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    tally = SpecificityAccumulator(both)
    for relation, here in both.by_relation(torch.arange(60)):
        tally.add(relation, here, scores[here])
    tally.finish()
    for fact in range(60):
        ratios = []
        for a in range(ANSWERS):
            mine = [
                j for j in range(60) if one.relation[j] == one.relation[fact] and a not in both.accepted[j]
            ]
            ratios.append(scores[fact, a].exp().item() / scores[mine, a].exp().mean().item())
        own = max(ratios[a] for a in both.accepted[fact])
        assert float(tally.specificity[fact]) == pytest.approx(math.log(own / sum(ratios)), abs=1e-5)
        assert bool(tally.first[fact]) == (own == max(ratios))
        assert float(tally.rank[fact]) == pytest.approx(sum(r >= own for r in ratios) / ANSWERS)


def test_an_answer_said_of_any_subject_tells_nothing() -> None:
    known = golds(60)
    scores = torch.log_softmax(torch.arange(ANSWERS).float(), -1).expand(60, -1)
    tally = SpecificityAccumulator(known)
    for relation, here in known.by_relation(torch.arange(60)):
        tally.add(relation, here, scores[here])
    tally.finish()
    torch.testing.assert_close(tally.specificity, torch.full((60,), -math.log(ANSWERS)), atol=1e-5, rtol=0)


def test_what_is_no_number_or_has_too_few_others_is_missing() -> None:
    known = golds(60)
    scores = torch.randn(60, ANSWERS).log_softmax(-1)
    scores[3] = torch.nan
    tally = SpecificityAccumulator(known)
    for relation, here in known.by_relation(torch.arange(60)):
        tally.add(relation, here, scores[here])
    tally.finish()
    assert tally.specificity.isnan().nonzero().flatten().tolist() == [3]
    assert tally.rank.isnan().nonzero().flatten().tolist() == [3]
    few = golds(8)
    tally = SpecificityAccumulator(few)
    for relation, here in few.by_relation(torch.arange(8)):
        tally.add(relation, here, scores[:8][here])
    tally.finish()
    assert tally.specificity.isnan().all()
    assert tally.rank.isnan().all()


def test_what_usually_follows_is_weighed_by_how_likely_the_beginning_is() -> None:
    usual, beginning = UsualContinuations(), (7,)
    assert usual.of(beginning, 2, torch.device("cpu")).exp().tolist() == pytest.approx([1 / 3, 1 / 3])
    reached = torch.tensor([0.1, 0.3, 0.6]).log()
    after = torch.tensor([[0.5, 0.2], [0.1, 0.8], [0.9, 0.05]]).log()
    others = torch.tensor([True, True, False])  # the last one's right answer begins so
    for rows in ([0], [1, 2]):
        usual.add(beginning, reached[rows], after[rows], others[rows])
    expected = [(0.1 * 0.5 + 0.3 * 0.1) / 0.4, (0.1 * 0.2 + 0.3 * 0.8) / 0.4]
    assert usual.of(beginning, 2, torch.device("cpu")).exp().tolist() == pytest.approx(expected)
