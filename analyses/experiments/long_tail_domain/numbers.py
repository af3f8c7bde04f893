"""Numbers of the experiment on a domain of rare facts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyses.common.numbers import SHARE, Bounds, Tree, mean, paired_difference, summarise_seeds
from analyses.common.options import SHUFFLED

NAMES = {
    "base": "base",
    "top": "domain, popular half",
    "bottom": "domain, unpopular half",
    "random": "domain, random half",
    "whole": "domain, whole",
    "general_top": "general, most popular",
    "mixed": "even mix",
    "shuffled_top": "domain, half by chance",
    "shuffled_bottom": "domain, other half by chance",
}
PAIRS = (
    ("top", "bottom"),
    ("top", "random"),
    ("top", "whole"),
    ("general_top", "top"),
    ("mixed", "top"),
    ("base", "top"),
    ("base", "bottom"),
    ("base", "general_top"),
    (f"{SHUFFLED}top", f"{SHUFFLED}bottom"),
)
QUARTILES = (1, 2, 3, 4)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return each arm's accuracy and attention in the domain and outside, and what arms differ by."""
    return summarise_seeds(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> Bounds | None:
    if path[-1] == "sightings":
        return None
    return (-1, 1) if path[0] == "contrasts" else SHARE


def _one_seed(rows: pd.DataFrame) -> Tree:
    inside, outside = rows[rows["domain"]], rows[~rows["domain"]]
    tree: Tree = {"facts": _facts(inside, outside), "arms": {}, "contrasts": {}}
    for arm in sorted(set(rows["arm"])):
        tree["arms"][arm] = _arm(inside[inside["arm"] == arm], outside[outside["arm"] == arm])
    for first, second in PAIRS:
        if {first, second} <= set(rows["arm"]):
            ends = {"arm": first}, {"arm": second}
            tree["contrasts"][f"{first}_minus_{second}"] = {
                "accuracy_known": paired_difference(inside[inside["known"]], *ends, "correct"),
                "accuracy": paired_difference(inside, *ends, "correct"),
                "subject_attention": paired_difference(inside, *ends, "subject_attention"),
                "general_known": paired_difference(outside[outside["known"]], *ends, "correct"),
            }
    return tree


def _arm(inside: pd.DataFrame, outside: pd.DataFrame) -> Tree:
    known = inside[inside["known"]]
    return {
        "accuracy": mean(inside, "correct"),
        "accuracy_known": mean(known, "correct"),
        "accuracy_by_quartile": {
            str(q): mean(inside[inside["domain_quartile"] == q], "correct") for q in QUARTILES
        },
        "accuracy_known_by_quartile": {
            str(q): mean(known[known["domain_quartile"] == q], "correct") for q in QUARTILES
        },
        "subject_attention": mean(inside, "subject_attention"),
        "general": mean(outside, "correct"),
        "general_known": mean(outside[outside["known"]], "correct"),
    }


def _facts(inside: pd.DataFrame, outside: pd.DataFrame) -> Tree:
    """Say how often held-out facts were met and how many the base states; any arm's rows will do."""

    def of(rows: pd.DataFrame) -> Tree:
        return {"stated": mean(rows, "known"), "sightings": mean(rows, "sightings", share=False)}

    once = inside.drop_duplicates("fact_id")
    parts = {f"domain, quartile {q}": once[once["domain_quartile"] == q] for q in QUARTILES}
    return {
        "domain": of(once),
        **{name: of(part) for name, part in parts.items()},
        "general": of(outside.drop_duplicates("fact_id")),
    }
