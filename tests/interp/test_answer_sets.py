"""Answers told apart by all of their tokens, against every answer scored whole by the plain model."""

from __future__ import annotations

import pytest
import torch

from finetune.data.prompts import Prompt
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation.generate import generate, score
from finetune.evaluation.scoring import score_pairs
from interp.measures.answer_sets import AnswerSet, answer_readings
from interp.measures.spans import encode
from interp.verdicts import continuations
from interp.verdicts.answer_scores import AnswerScorer
from interp.verdicts.specificity import AnswerTargets
from tests.architectures import POSITIONS
from tests.interp import measuring_fixtures as tiny

NAMES = {
    "born": ("Aston", "Carlow", "Carlow Hill", "Carlow Bury", "Carlow Hill Dover", "Dover", "Bury"),
    "plays": ("lute", "oboe", "tuba", "viol da gamba"),
}


def readings() -> dict[str, AnswerSet]:
    return answer_readings(tiny.tokenizer(), tiny.batch(), NAMES, "distinct")


def test_answers_are_read_up_to_where_they_part() -> None:
    sets = readings()
    born = sets["born"]
    assert len(born.readings) == len(NAMES["born"]), "no two answers are taken for one"
    assert not born.collisions
    assert [len(ids) for ids in born.branches] == [1, 2]
    lengths = {name: len(born.readings[place]) for name, place in born.place.items()}
    assert lengths["Aston"] == 1
    assert lengths["Carlow"] == 1, "an answer that others continue is read whole"
    assert lengths["Carlow Bury"] == lengths["Carlow Hill"] == 2
    assert lengths["Carlow Hill Dover"] == 3
    assert sets["plays"].branches == ()
    assert [len(ids) for ids in sets["plays"].readings] == [1, 1, 1, 1]


@pytest.mark.parametrize("unlikely", [1e-30, continuations.UNLIKELY])
@pytest.mark.parametrize("name", tiny.FEW)
def test_scores_are_those_of_whole_answers(
    name: str, unlikely: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With teacher forcing: an answer's own tokens, and none of its continuations behind it.

    Behind unlikely beginnings only a fact's right answer is asked for.
    """
    monkeypatch.setattr(continuations, "UNLIKELY", unlikely)
    both, batch, sets = tiny.both(name), tiny.batch(), readings()
    golds = AnswerTargets.of(tiny.tokenizer(), batch, sets)
    taken: dict[int, torch.Tensor] = {}

    class Keeping:
        right = first = torch.zeros(len(batch))

        def add(self, relation: str, fact: torch.Tensor, log_probs: torch.Tensor) -> None:
            taken.update(zip(fact.tolist(), log_probs, strict=True))

        def finish(self) -> None: ...

    scorer = AnswerScorer(batch, golds, tiny.tokenizer())
    scorer.tally = Keeping()  # type: ignore[assignment]
    scorer.ask(both.hooked, batch_tokens=400)
    for f, prompt in enumerate(batch.prompts):
        names = NAMES[prompt.relation]
        pairs = tokenize_with_answer(tiny.tokenizer(), [prompt] * len(names), list(names))
        whole = {n: pairs[k][1] for k, n in enumerate(names)}
        for k, n in enumerate(names):
            place = sets[prompt.relation].place[n]
            ids = sets[prompt.relation].readings[place]
            alone, _ = score_pairs(both.plain, tiny.tokenizer(), [(pairs[k][0], ids)], [n])
            expected = torch.tensor(alone[0]).exp()
            for longer in {
                o[: len(ids) + 1] for o in whole.values() if len(o) > len(ids) and o[: len(ids)] == ids
            }:
                if ids in sets[prompt.relation].branches:
                    more, _ = score_pairs(both.plain, tiny.tokenizer(), [(pairs[k][0], longer)], [n])
                    expected = expected - torch.tensor(more[0]).exp()
            own = place == int(golds.place[f])
            off = 0.0 if own else unlikely * float(taken[f].exp().sum())
            assert float(taken[f][place].exp()) == pytest.approx(float(expected), abs=off + 1e-6)


def test_a_shared_beginning_no_longer_makes_two_answers_one() -> None:
    first = answer_readings(tiny.tokenizer(), tiny.batch(), NAMES)["born"]
    assert first.place["Carlow Hill"] == first.place["Carlow Bury"]
    assert readings()["born"].place["Carlow Hill"] != readings()["born"].place["Carlow Bury"]


@pytest.mark.parametrize("name", tiny.FEW)
def test_a_prompt_without_room_for_a_neighbours_long_answer_is_scored_all_the_same(name: str) -> None:
    """A learnt position is there for each of its own tokens, and for no padding behind them."""
    both, words = tiny.both(name), " ".join(tiny.SUBJECTS * 5).split()
    texts = [" ".join(words[: POSITIONS - 3]), "Ada was born in"]
    answers = ["Dover", " ".join(words[:30])]
    prompts = [
        Prompt(text=text, subject=(0, 3), answers=(answer,), fact_id=answer, relation="born")
        for text, answer in zip(texts, answers, strict=True)
    ]
    batch = encode(tiny.tokenizer(), prompts)
    sets = answer_readings(tiny.tokenizer(), batch, {"born": answers}, "distinct")
    scorer = AnswerScorer(batch, AnswerTargets.of(tiny.tokenizer(), batch, sets), tiny.tokenizer())
    scorer.ask(both.hooked, batch_tokens=4 * POSITIONS)
    expected, _ = score(both.plain, tiny.tokenizer(), prompts)
    assert scorer.log_prob.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert scorer.said == generate(both.plain, tiny.tokenizer(), prompts)
