"""A domain of rare facts beside general ones: disjoint, met as often as wanted; rare real relations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.records.fact import Fact
from finetune.data.synthetic_domains import DomainConfig, domain_world, rare_relations
from finetune.data.synthetic_world import WorldConfig, make_world
from finetune.training.examples import sampling_weights

CONFIG = DomainConfig(world=WorldConfig(subjects=200, answers=10), general=120, relations=3, sightings=12)
ROWS = 40_000


def test_subjects_and_relations_of_the_domain_are_its_own() -> None:
    facts, own = domain_world(CONFIG, rows=ROWS, seed=1)
    inside = [fact for fact in facts if fact.relation in own]
    outside = [fact for fact in facts if fact.relation not in own]
    assert len(own) == 2
    assert len({fact.relation for fact in outside}) == 3
    assert not {fact.subject for fact in inside} & {fact.subject for fact in outside}
    assert Counter(Counter(fact.subject for fact in inside).values()) == {2: 80}
    assert Counter(Counter(fact.subject for fact in outside).values()) == {3: 120}


def test_the_truth_is_the_world_s_own() -> None:
    facts, _ = domain_world(CONFIG, rows=ROWS, seed=1)
    drawn = {fact.id: fact for fact in make_world(CONFIG.world, seed=1)}
    assert all(
        (fact.subject, fact.answers) == (drawn[fact.id].subject, drawn[fact.id].answers) for fact in facts
    )
    assert domain_world(CONFIG, rows=ROWS, seed=1)[0].digest == facts.digest
    assert domain_world(CONFIG, rows=ROWS, seed=2)[0].digest != facts.digest


def test_popularity_is_what_pretraining_is_expected_to_meet() -> None:
    facts, own = domain_world(CONFIG, rows=ROWS, seed=1)
    met = sampling_weights(facts, 1.0) * ROWS
    assert met == pytest.approx([fact.popularity for fact in facts])
    inside = np.array([fact.relation in own for fact in facts])
    assert np.median(met[inside]) == pytest.approx(12)
    first, second = np.sort(np.unique(met[inside].round(6)))[::-1][:2]
    assert first / second == pytest.approx(2**0.5), "Zipf with exponent 0.5 within the domain"
    first, second = np.sort(np.unique(met[~inside].round(6)))[::-1][:2]
    assert first / second == pytest.approx(2**1.3), "and the world's own exponent outside"


def test_a_domain_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"domain\.sightings = 12: the domain alone needs"):
        domain_world(CONFIG, rows=1000)
    with pytest.raises(InputError, match=r"domain\.general = 195"):
        DomainConfig(world=CONFIG.world, general=195)
    with pytest.raises(InputError, match=r"domain\.relations = 5"):
        DomainConfig(world=CONFIG.world, general=100, relations=5)


def _facts(popularity: dict[str, list[float | None]]) -> FactSet:
    facts = tuple(
        Fact(
            id=f"{relation}{i}", subject=f"{relation}{i}", relation=relation, answers=("x",), popularity=value
        )
        for relation, values in popularity.items()
        for i, value in enumerate(values)
    )
    return FactSet(facts=facts, name="some")


def test_rare_relations_are_those_of_the_lowest_median() -> None:
    # The mean would rank a below c; the relation with two facts does not count.
    facts = _facts(
        {"a": [1, 2, 900], "b": [5, 5, 5], "c": [3, 3, 3], "d": [50, 60, 70], "e": [9] * 3, "f": [0, 0]}
    )
    assert rare_relations(facts, fewest=3) == (("a", "c"), ("b", "e", "d"))
    assert rare_relations(facts, fewest=2)[0] == ("f", "a", "c")
    with pytest.raises(InputError, match="0 relations have 4 or more facts"):
        rare_relations(facts, fewest=4)
    with pytest.raises(InputError, match=r"lacks \(1 in all\); add a column popularity"):
        rare_relations(_facts({"a": [1, None], "b": [2, 3]}), fewest=1)
