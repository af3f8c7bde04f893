"""The world is what it says: frequencies, sizes, wording, and a tokenizer that knows every word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from finetune.common.errors import InputError
from finetune.data.prompts import render
from finetune.data.synthetic_world import (
    LevelsConfig,
    WorldConfig,
    make_world,
    world_in_levels,
    world_phrasebook,
    zipf,
)
from finetune.data.tokenizers import UNKNOWN, bpe_tokenizer, word_tokenizer
from finetune.training.config import CorpusConfig
from finetune.training.examples import (
    answer_examples,
    by_length,
    corpus,
    draw_question_subjects,
    sampling_weights,
)

CONFIG = WorldConfig(subjects=60, answers=6, alpha=1.2)


@pytest.fixture(scope="module")
def facts():
    return make_world(CONFIG, seed=3)


@pytest.fixture(scope="module")
def tokenizer(facts):
    return word_tokenizer(facts, world_phrasebook())


def test_every_subject_has_every_relation_and_a_two_word_name(facts):
    assert len(facts) == 60 * 5
    assert len({f.subject for f in facts}) == 60
    assert all(len(f.subject.split()) == 2 for f in facts)
    first_names = {f.subject.split()[0] for f in facts}
    assert len(first_names) < 60, "first names are shared, so one token does not identify a subject"


def test_popularity_follows_zipf(facts):
    popularity = np.array([f.popularity for f in facts if f.relation == "award"])
    assert popularity == pytest.approx(1e6 * zipf(60, 1.2))
    assert popularity[0] / popularity[9] == pytest.approx(10**1.2)


def test_answers_follow_their_prior():
    many = make_world(WorldConfig(subjects=4000, answers=6, answer_alpha=1.0), seed=0)
    drawn = [f.answer for f in many if f.relation == "employer"]
    counts = sorted((drawn.count(a) for a in set(drawn)), reverse=True)
    assert chisquare(counts, 4000 * zipf(6, 1.0)).pvalue > 1e-3


def test_a_seed_gives_the_same_world_and_another_a_different_one(facts):
    assert make_world(CONFIG, seed=3).digest == facts.digest
    assert make_world(CONFIG, seed=4).digest != facts.digest


def test_corpus_frequencies_follow_popularity(facts, tokenizer):
    book = world_phrasebook()
    rows = corpus(tokenizer, facts, book, CorpusConfig(), rows=200_000, batch=256, seed=0)
    texts_per_fact = 5  # three statements and two questions a relation
    seen = np.bincount(rows.order // texts_per_fact, minlength=len(facts))
    assert chisquare(seen, 200_000 * sampling_weights(facts, 1.0)).pvalue > 1e-3


def test_only_asked_subjects_appear_as_questions(facts, tokenizer):
    text = CorpusConfig(exponent=0.0, asked_share=0.5, question_share=0.5)
    rows = corpus(tokenizer, facts, world_phrasebook(), text, rows=50_000, batch=256, seed=0)
    asked = draw_question_subjects(facts, 0.5, seed=0)
    question = rows.order % 5 >= 3
    subject = np.array([f.subject for f in facts])[rows.order // 5]
    is_asked = np.isin(subject, list(asked))
    assert len(asked) == 30
    assert not question[~is_asked].any()
    assert question[is_asked].mean() == pytest.approx(0.5, abs=0.02)


def test_the_asked_form_is_new_unless_seen_is_asked_for():
    for phrases in world_phrasebook().values():
        assert phrases.asked not in phrases.questions
    for phrases in world_phrasebook(question_form="seen").values():
        assert phrases.asked in phrases.questions


def test_tokenizer_knows_every_word_and_round_trips(facts, tokenizer):
    book = world_phrasebook()
    for fact in facts:
        text = f"{render(book[fact.relation].asked, fact).text} {fact.answer}"
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.convert_tokens_to_ids(UNKNOWN) not in ids
        assert ids[0] == tokenizer.bos_token_id


def test_bpe_spells_every_sentence_back(facts):
    tokenizer = bpe_tokenizer(facts, world_phrasebook(), size=500)
    for text in ("Zoë Müller-Łuków was born in", "東京 is \U0001f600 the"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_collated_batch_scores_only_the_answer_and_its_end(facts, tokenizer):
    book = world_phrasebook()
    prompts = [render(book[f.relation].asked, f) for f in facts[:20]]
    rows = answer_examples(tokenizer, prompts, rows=40, seed=0)
    batch = rows.collate([rows[i] for i in range(40)])
    for row in range(40):
        fact = facts[int(rows.order[row])]
        scored = batch["labels"][row][batch["labels"][row] != -100]
        assert tokenizer.decode(scored) == f"{fact.answer} {tokenizer.eos_token}"
    assert sorted(rows.order[:20]) == list(range(20)), "a pass shows each fact once"


def test_stages_come_in_their_order_and_share_the_rows(facts, tokenizer):
    prompts = [render(world_phrasebook()[f.relation].asked, f) for f in facts[:20]]
    stages = [1] * 15 + [0] * 5
    rows = answer_examples(tokenizer, prompts, rows=80, stages=stages)
    assert len(rows) == 80
    assert set(rows.order[:20]) == set(range(15, 20)), "five of twenty prompts take a quarter of the rows"
    assert set(rows.order[20:]) == set(range(15))
    plain = answer_examples(tokenizer, prompts, rows=80)
    assert (answer_examples(tokenizer, prompts, rows=80, stages=[3] * 20).order == plain.order).all()


def test_a_world_too_small_is_refused():
    with pytest.raises(InputError, match="at least 8 subjects"):
        replace(CONFIG, subjects=3)


def test_ordering_by_length_keeps_every_row_and_cuts_padding():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 40, size=500)
    order = rng.integers(500, size=10_050)
    sorted_order = by_length(order, lengths, batch=100, rng=rng)
    assert (np.sort(sorted_order) == np.sort(order)).all()

    def padded(rows):
        return sum(
            lengths[rows[i : i + 100]].max() * len(rows[i : i + 100]) for i in range(0, len(rows), 100)
        )

    assert padded(sorted_order) < 1.15 * lengths[order].sum() < 0.75 * padded(order)


def test_a_levelled_world_crosses_frequency_with_answers():
    config = LevelsConfig(sightings=(1, 8, 64), subjects=18, answers=30, relations=2)
    made = world_in_levels(config, seed=1)
    assert len(made) == 3 * 18 * 2
    assert len({f.subject for f in made}) == 54
    assert config.rows == sum(f.popularity for f in made) == 18 * 2 * 73
    for relation in made.relations:
        marginals = [
            sorted(f.answer for f in made if f.relation == relation and f.popularity == met)
            for met in config.sightings
        ]
        assert marginals[0] == marginals[1] == marginals[2]
        counts = sorted((marginals[0].count(a) for a in set(marginals[0])), reverse=True)
        assert abs(counts[0] - 18 * zipf(30, 1.0)[0]) < 1, "the commonest answer has its prior's share"
    orders = [[f.answer for f in made if f.relation == "employer" and f.popularity == met] for met in (1, 8)]
    assert orders[0] != orders[1], "which subject has which answer is drawn anew in each level"
    assert world_in_levels(config, seed=1).digest == made.digest
    assert world_in_levels(config, seed=2).digest != made.digest


@pytest.mark.parametrize("wrong", [{"sightings": ()}, {"sightings": (0.0,)}, {"subjects": 1}])
def test_levels_that_hold_nothing_are_refused(wrong):
    with pytest.raises(InputError, match=f"world.{next(iter(wrong))}"):
        LevelsConfig(**wrong)
