"""Scores against slower exact ways, and choices against what they promise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.checkpoints.loading import load_model
from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import PromptFormat
from finetune.data.prompts import render
from finetune.data.records.fact import Fact
from finetune.data.tokenization import tokenize_with_answer
from finetune.evaluation import consistency
from finetune.evaluation.consistency import CLASSES
from finetune.training.examples import answer_examples
from interp.measures.gradients import answer_losses, gradient_alignment, mean_gradient
from interp.measures.score_gradient import harm_score
from interp.measures.spans import encode
from interp.measures.value_readout import value_readout
from interp.models.load_pair import load_pair
from interp.selection import behavioural_scores as knowledge
from interp.selection import candidates as module
from interp.selection.behavioural_scores import known_classes
from interp.selection.candidates import Candidates
from interp.selection.choose import answer_types, choose, rank_facts
from interp.selection.scores import LABEL_FREE, SCORES

ANSWERS = {"born": ("Paris", "Rome", "Oslo"), "job": ("poet", "king")}


def make_facts(n: int = 10) -> FactSet:
    facts = [
        Fact(
            id=f"{relation}/{i}",
            subject=f"Ada {chr(65 + i)}",
            relation=relation,
            answers=(answers[i % len(answers)],),
            popularity=float(n - i),
        )
        for relation, answers in ANSWERS.items()
        for i in range(n)
    ]
    return FactSet(facts=tuple(facts), name="people")


@pytest.fixture(scope="module")
def candidates(tiny_llama_dir: Path) -> Candidates:
    return Candidates(facts=make_facts(), base=str(tiny_llama_dir))


def log_probs(base: Path, text: str, answer: str, temperature: float = 1.0) -> tuple[float, bool]:
    """Score one answer alone, token by token, and say whether each token is the likeliest."""
    model, tokenizer = load_model(base)
    ((prompt, ids),) = tokenize_with_answer(tokenizer, [text], [answer])
    total, greedy = 0.0, True
    for k, token in enumerate(ids):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids[:k]]])).logits[0, -1]
        total += float((logits / temperature).log_softmax(-1)[token])
        greedy &= int(logits.argmax()) == token
    return total, greedy


def test_statements_are_scored_in_every_form_and_questions_as_they_are_asked(
    candidates: Candidates, tiny_llama_dir: Path
) -> None:
    facts, book = candidates.facts, phrasebook(candidates.facts)
    statement, question = SCORES["statement"](candidates), SCORES["question"](candidates)
    for i in (0, 7, 13):
        forms = [render(form, facts[i]) for form in book[facts[i].relation].statements]
        each = [log_probs(tiny_llama_dir, form.text, facts[i].answer)[0] for form in forms]
        assert statement[i] == pytest.approx(np.mean(each), abs=1e-4)
        asked = render(book[facts[i].relation].asked, facts[i]).text
        assert question[i] == pytest.approx(log_probs(tiny_llama_dir, asked, facts[i].answer)[0], abs=1e-4)


def test_few_shot_prompts_show_other_subjects_and_as_many_as_fit(candidates: Candidates) -> None:
    from finetune.checkpoints.loading import load_tokenizer

    facts, tokenizer = candidates.facts, load_tokenizer(candidates.base)
    prompts = candidates.prompts_for(facts, shots=9)
    shown = [prompt.text.count("\n") for prompt in prompts if prompt]
    assert len(shown) == len(facts)
    assert 0 < min(shown) < 9, "nine examples do not fit into 64 tokens, some do"
    for fact, prompt in zip(facts, prompts, strict=True):
        assert prompt is not None
        assert prompt.text.count(fact.subject) == 1
        assert prompt.text[slice(*prompt.subject)] == fact.subject
        assert len(tokenizer(f"{prompt.text} {fact.answer}")["input_ids"]) <= 64
    long = Fact(id="x", subject="x " * 90, relation="born", answers=("Paris",))
    assert candidates.prompts_for(FactSet(facts=(long,), name="long")) == [None]
    alone = Fact(id="y", subject="Ada A", relation="died", answers=("Paris",))
    few = Candidates(facts=FactSet(facts=(*facts, long, alone), name="few"), base=candidates.base)
    values = SCORES["few_shot"](few)
    assert np.isfinite(values[:-2]).all()
    assert np.isnan(values[-2:]).all(), "without an example it would be another question"
    assert np.isfinite(SCORES["question"](few)[-1])
    assert {item.where for item in few.left_out} == {"x", "y"}


def test_what_is_said_is_what_greedy_decoding_and_sampling_say(tiny_llama_dir: Path) -> None:
    model, tokenizer = load_model(tiny_llama_dir)
    texts = ["Ada was born in", "The occupation of Marie Curie is", "Ada"]
    with torch.no_grad():
        likely = [
            model.generate(torch.tensor([tokenizer(text)["input_ids"]]), max_new_tokens=2, do_sample=False)[
                0, -2:
            ].tolist()
            for text in texts
        ]
    prompts = [tuple(tokenizer(text)["input_ids"]) for text in texts]
    pairs = [(p, tuple(a)) for p, a in zip(prompts, likely, strict=True)]
    pairs += [(p, tuple(a[::-1])) for p, a in zip(prompts, likely, strict=True)]
    greedy, probability = consistency.decodes_greedily(model, tokenizer, pairs, [""] * 6, temperature=0.5)
    assert greedy.tolist() == [True] * 3 + [tuple(a) == tuple(a[::-1]) for a in likely]
    for (prompt, answer), p in zip(pairs, probability, strict=True):
        expected = 1.0
        for k, token in enumerate(answer):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *answer[:k]]])).logits[0, -1]
            expected *= float((logits / 0.5).softmax(-1)[token])
        assert p == pytest.approx(expected, rel=1e-3)


def test_classes_are_those_of_greedy_and_sampled_answers() -> None:
    greedy = np.array([[1, 1], [1, 0], [0, 0], [0, 0], [1, 0]], bool)
    # A sample is right once in 20: of twice 16, at least one is with 1 - 0.95 ** 32 = 0.81.
    probability = np.array([[0.9, 0.9], [0.9, 0.0], [0.05, 0.05], [0.01, 0.0], [0.9, 0.0]])
    asked = np.array([[1, 1], [1, 1], [1, 1], [1, 1], [1, 0]], bool)
    found = consistency.consistency_classes(greedy, probability, asked)
    assert [CLASSES[i] for i in found] == [
        "HighlyKnown",
        "MaybeKnown",
        "WeaklyKnown",
        "Unknown",
        "HighlyKnown",
    ]
    rng = np.random.default_rng(0)
    often = (rng.random((4000, 2, 16)) < probability[2][None, :, None]).any((1, 2)).mean()
    assert often > 0.5, "sampling itself mostly finds that fact"


def test_classes_under_statements_follow_from_each_form(candidates: Candidates, tiny_llama_dir: Path) -> None:
    classes, often = known_classes(candidates, "statements")
    values, maybe = SCORES["consistency_stated"](candidates), SCORES["maybe_stated"](candidates)
    assert np.allclose(values, classes + often)
    assert (often < 1).all()
    facts, book = candidates.facts, phrasebook(candidates.facts)
    for i in (0, 11):
        forms = [render(form, facts[i]).text for form in book[facts[i].relation].statements]
        single = [log_probs(tiny_llama_dir, form, facts[i].answer, 0.5) for form in forms]
        p = np.exp([total for total, _ in single])
        share = np.mean([right for _, right in single])
        assert often[i] == pytest.approx(0.499 * (share + p.mean()), abs=1e-5)
    order = np.array([consistency.MAYBE, consistency.HIGHLY, consistency.WEAKLY, consistency.UNKNOWN])
    place = np.argsort(order)
    assert (np.diff(place[classes[np.argsort(-maybe, kind="stable")]]) >= 0).all()


def test_slopes_along_a_direction_are_products_of_each_fact_s_own_gradient(
    candidates: Candidates, tiny_llama_dir: Path
) -> None:
    prompts = [p for p in candidates.prompts_for(candidates.facts[:5]) if p]
    model, tokenizer = load_model(tiny_llama_dir)
    _, direction = mean_gradient(model, tokenizer, prompts[3:])
    found = gradient_alignment(model, tokenizer, prompts, direction, batch_tokens=40)
    assert model.config._attn_implementation != "eager", "attention is computed as before"
    for prompt, slope in zip(prompts, found.tolist(), strict=True):
        _, own = mean_gradient(model, tokenizer, [prompt])
        assert slope == pytest.approx(sum(float((own[n] * direction[n]).sum()) for n in own), rel=1e-3)


def test_a_step_on_an_agreeing_fact_lowers_the_loss_of_the_facts_to_be_known(
    candidates: Candidates, tiny_llama_dir: Path
) -> None:
    reference = candidates.facts.subset([3, 4, 15])
    ready = Candidates(facts=candidates.facts, base=candidates.base, reference=reference)
    values = SCORES["agreement"](ready)
    model, tokenizer = load_model(tiny_llama_dir)
    examples = answer_examples(
        tokenizer, [p for p in ready.prompts_for(reference) if p], rows=len(reference)
    ).collate(range(3))

    def loss() -> float:
        with torch.no_grad():
            logits = model(examples["input_ids"], attention_mask=examples["attention_mask"]).logits
        return float(answer_losses(logits.double(), examples["labels"]).mean())

    before, step = loss(), 1e-4
    for i in (0, 12):
        model, _ = load_model(tiny_llama_dir)
        _, own = mean_gradient(model, tokenizer, [p for p in ready.prompts_for(ready.facts.subset([i])) if p])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in own:
                    parameter -= step * own[name]
        assert before - loss() == pytest.approx(step * values[i], rel=0.1)


def test_readout_and_harm_are_those_of_the_questions(candidates: Candidates) -> None:
    facts = candidates.facts
    pair = load_pair(candidates.base)
    batch = encode(pair.tokenizer, [p for p in candidates.prompts_for(facts) if p])
    sets = {relation: facts.answer_set(relation) for relation in facts.relations}
    with pair.base() as model:
        readout = value_readout(model, batch, pair.tokenizer, sets).stored_total
        harm = harm_score(model, batch, pair.tokenizer).values
    assert SCORES["readout"](candidates) == pytest.approx(readout.numpy(), abs=1e-4)
    assert SCORES["harm"](candidates) == pytest.approx(harm.numpy(), abs=1e-5)


def test_chunks_change_nothing(candidates: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Candidates(facts=candidates.facts, base=candidates.base)
    whole = {name: SCORES[name](candidates) for name in LABEL_FREE}
    monkeypatch.setattr(module, "CHUNK", 7)
    for name, values in whole.items():
        assert SCORES[name](again) == pytest.approx(values, rel=1e-3, abs=1e-4), name


def test_what_is_found_once_is_not_computed_again(
    tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = Candidates(facts=make_facts(4), base=str(tiny_llama_dir))
    counted: Counter[str] = Counter()
    scored = knowledge.score

    def counting(*args: object, **kwargs: object) -> tuple[np.ndarray, np.ndarray]:
        counted["statement"] += 1
        return scored(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(knowledge, "score", counting)
    for name in ("statement", "shuffled", "agreement", "statement"):
        SCORES[name](ready)
    assert counted["statement"] == 1


def test_placebos_know_nothing_but_the_mix_of_relations(candidates: Candidates) -> None:
    statement, dealt = SCORES["statement"](candidates), SCORES["shuffled"](candidates)
    relations = np.array([fact.relation for fact in candidates.facts])
    for relation in ANSWERS:
        members = relations == relation
        assert sorted(statement[members]) == sorted(dealt[members])
    assert not np.array_equal(statement, dealt)
    other = Candidates(facts=candidates.facts, base=candidates.base, seed=1)
    assert not np.array_equal(SCORES["random"](candidates), SCORES["random"](other))


def test_scores_say_what_they_cannot_do_without(tiny_llama_dir: Path) -> None:
    unnamed = FactSet(
        facts=tuple(
            Fact(id=text, subject=text, relation="fact", answers=("Ada",), question=text)
            for text in ("Who?", "Who else?")
        ),
        name="bare",
    )
    bare = Candidates(facts=unnamed, base=str(tiny_llama_dir), subjects_known=False)
    refused = {name for name, score in SCORES.items() if score.unavailable(bare)}
    stated = {"statement", "consistency_stated", "maybe_stated", "shuffled"}
    assert refused == {*stated, "readout", "harm", "popularity"}
    with pytest.raises(InputError, match=r"score popularity: .*add a column popularity"):
        SCORES["popularity"](bare)
    for name in sorted(set(SCORES) - refused):
        assert np.isfinite(SCORES[name](bare)).all(), name
    named = Candidates(facts=unnamed, base=str(tiny_llama_dir))
    assert {n for n, score in SCORES.items() if score.unavailable(named)} == {*stated, "popularity"}


def test_a_fact_that_does_not_fit_has_no_score_and_costs_the_others_nothing(tiny_llama_dir: Path) -> None:
    facts = make_facts(4)
    long = Fact(id="long", subject="Ada " * 70, relation="born", answers=("Paris",), popularity=1.0)
    ready = Candidates(facts=FactSet(facts=(long, *facts), name="some"), base=str(tiny_llama_dir))
    alone = Candidates(facts=facts, base=str(tiny_llama_dir))
    for name in ("statement", "question", "consistency_stated", "harm"):
        values = SCORES[name](ready)
        assert np.isnan(values[0]), name
        assert values[1:] == pytest.approx(SCORES[name](alone), abs=1e-4), name
        if name != "harm":  # which demands one prompt that can be aligned
            assert np.isnan(SCORES[name](Candidates(facts=ready.facts[:1], base=ready.base))).all(), name


def test_a_format_of_one_s_own_is_asked(tiny_llama_dir: Path) -> None:
    ready = Candidates(
        facts=make_facts(2), base=str(tiny_llama_dir), style=PromptFormat(template="{question} So:")
    )
    prompt = ready.prompts_for(ready.facts)[0]
    assert prompt is not None
    assert prompt.text.endswith(" So:")


# ---------------------------------------------------------------------------------------------- choosing


def many(relations: list[int], answers: list[int]) -> FactSet:
    """Make facts of the given relations and answers."""
    facts = tuple(
        Fact(id=str(i), subject=str(i), relation=f"r{r}", answers=(f"A{a}",))
        for i, (r, a) in enumerate(zip(relations, answers, strict=True))
    )
    return FactSet(facts=facts, name="many")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 5) | st.none()),
        min_size=4,
        max_size=80,
    ),
    st.sampled_from([0.25, 0.5, 0.77, 1.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_choice_has_its_size_and_every_group_its_share(
    rows: list[tuple[int, int, int | None]], keep: float, floor: float
) -> None:
    facts = many([r for r, _, _ in rows], [a for _, a, _ in rows])
    values = np.array([np.nan if v is None else float(v) for _, _, v in rows])
    made = choose(values, facts, keep, floor=floor, seed=3)
    assert len(made.indices) == int(keep * len(rows) + 1e-9)
    assert sorted(made.rank.tolist()) == list(range(1, len(rows) + 1))
    types = [f"{f.relation}: {t}" for f, t in zip(facts, answer_types(facts), strict=True)]
    for groups in (types, [fact.relation for fact in facts]):
        sizes, kept = Counter(groups), Counter(groups[i] for i in made.indices)
        assert all(kept[name] >= int(floor * keep * n + 1e-9) for name, n in sizes.items())
    dropped = made.rank[~made.kept]
    for i in made.indices:
        if len(dropped) and made.rank[i] > dropped.min():
            # Only what its relation or type was promised is taken before a better fact.
            assert any(
                Counter(groups[k] for k in made.indices)[groups[i]]
                <= int(floor * keep * Counter(groups)[groups[i]] + 1e-9)
                for groups in (types, [fact.relation for fact in facts])
            )
    if not floor:
        assert set(made.why) <= {"its score", "to fill up", "dropped", "no score"}


def test_facts_without_a_score_come_last() -> None:
    values = np.array([np.nan, -np.inf, 2.0, 1.0])
    assert rank_facts(values) == [2, 3, 1, 0]
    made = choose(values, many([0] * 4, [0] * 4), 0.5)
    assert made.indices.tolist() == [2, 3]
    assert made.why == ("no score", "dropped", "its score", "its score")
    without = choose(np.array([np.nan, 2.0, np.nan, np.nan]), many([0] * 4, [0] * 4), 0.5)
    assert without.why.count("to fill up") == 1, "it has no score that it could be kept for"
    assert len(without.indices) == 2
    even = choose(np.full(4, np.nan), many([0, 0, 1, 1], [0] * 4), 0.5, floor=1.0)
    assert set(even.why) == {"its answer type's share", "no score"}


def test_a_floor_takes_the_best_of_a_relation_that_would_have_lost_all() -> None:
    facts = many([0] * 10 + [1] * 10, [0] * 20)
    values = np.concatenate([np.arange(10) + 100.0, np.arange(10)])
    assert choose(values, facts, 0.5).indices.tolist() == list(range(10))
    half = choose(values, facts, 0.5, floor=0.4)
    assert half.indices.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 18, 19]
    assert {half.why[i] for i in (18, 19)} == {"its answer type's share"}
    assert {half.why[i] for i in (0, 1)} == {"others' shares"}
    assert {half.why[i] for i in range(2, 10)} == {"its score"}
    even = choose(values, facts, 0.5, floor=1.0)
    assert even.indices.tolist() == [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]


def test_equal_scores_are_drawn_and_not_taken_as_they_come() -> None:
    facts, equal = many([0] * 200, [0] * 200), np.zeros(200)
    first, second = (set(choose(equal, facts, 0.5, seed=seed).indices.tolist()) for seed in (0, 1))
    assert first == set(choose(equal, facts, 0.5, seed=0).indices.tolist())
    assert 30 < len(first & set(range(100))) < 70
    assert first != second


def test_answers_are_typed_by_themselves_where_common_and_by_their_shape_where_not() -> None:
    texts = ["poet"] * 10 + ["1,234", "12 May 1999", "Ludwig van Beethoven", "a kind of tea", "東京"]
    facts = FactSet(
        facts=tuple(
            Fact(id=str(i), subject="s", relation="r", answers=(text,)) for i, text in enumerate(texts)
        ),
        name="typed",
    )
    assert answer_types(facts)[9:] == ["poet", "(a number)", "(a date)", "(a name)", "(words)", "(words)"]


@pytest.mark.parametrize(
    ("keep", "floor", "named"), [(0.0, 0.0, "keep = 0"), (1.2, 0.0, "keep = 1.2"), (0.5, 2.0, "floor = 2")]
)
def test_shares_that_cannot_be_are_refused(keep: float, floor: float, named: str) -> None:
    with pytest.raises(InputError, match=named):
        choose(np.zeros(4), many([0] * 4, [0] * 4), keep, floor=floor)


def test_a_share_that_is_no_fact_is_refused() -> None:
    with pytest.raises(InputError, match="raise the share"):
        choose(np.zeros(4), many([0] * 4, [0] * 4), 0.1)
    with pytest.raises(InputError, match="3 scores for 4 facts"):
        choose(np.zeros(3), many([0] * 4, [0] * 4), 0.5)
