"""Numbers of the cross of popularity, relations and answers, and of gradients.

A factor's effect is taken fact by fact: what the mean over all sets of one level answers more than the mean
over the sets of another level that are their like in the other two factors.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from analyses.common.numbers import (
    Bounds,
    Tree,
    mean,
    paired_difference,
    summarise_seeds,
    unpaired_difference,
)
from analyses.experiments.popularity_or_diversity.crossed_sets import ALL, FEW
from interp.stats import Estimate, estimate

FACTORS = ("popularity", "relations", "answers")
POPULAR, UNPOPULAR, RANDOM = "popular", "unpopular", "random"
OWN_KIND = "own_kind"  # the geometric mean of popular-popular and unpopular-unpopular cosines


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return accuracy in every cell of the cross, each factor's effect, and what gradients have in common."""
    return summarise_seeds(frame, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> Bounds | None:
    if path[0].startswith("gradient"):
        kind = "difference" if path[0].startswith("gradient_contrasts") else path[1]
        return {"cosine": (-1.0, 1.0), "difference": (-2.0, 2.0)}.get(kind, (0.0, math.inf))
    if path[0] in ("effects", "placebo"):
        return (
            (-2, 2) if path[1].endswith(("interaction", "exceeds_relations", "exceeds_answers")) else (-1, 1)
        )
    return (0, 1)


def _one_seed(rows: pd.DataFrame) -> Tree:
    tree: Tree = {"sets": {}, "effects": {}, "placebo": {}}
    arms = rows[rows["part"] == "arms"]
    if len(arms):
        arms = arms.astype({"known": bool, "correct": bool, "trained": bool, "first": bool, "relations": int})
        tree["sets"] = _sets(arms)
        tree["effects"], tree["placebo"] = _effects(arms)
    for state in ("gradients", "gradients_taught"):
        taken = rows[rows["part"] == state]
        tree[state] = _gradients(taken) if len(taken) else {}
        tree[state.replace("gradients", "gradient_contrasts")] = _turned(tree[state].get("cosine", {}))
    return tree


def key_of(popularity: str, relations: int, answers: str) -> str:
    """Name a cell of the cross in results.json."""
    return f"{popularity}, {relations}, {answers}".replace(" ", "_").replace(",", "")


def _sets(arms: pd.DataFrame) -> Tree:
    made: Tree = {}
    for level, some in arms.groupby(list(FACTORS)):
        popularity, relations, answers = map(str, level)  # type: ignore[arg-type]
        known = some[some["known"]]
        # Where the set has no fact of a relation it has no commonest answer of it either.
        wrong = some[~some["correct"] & some["trained"]]
        made[key_of(popularity, int(relations), answers)] = {
            "accuracy": mean(some, "correct"),
            "accuracy_known": mean(known, "correct"),
            "accuracy_known_trained": mean(known[known["trained"]], "correct"),
            "accuracy_known_others": mean(known[~known["trained"]], "correct"),
            "accuracy_known_popular": mean(known[known["quartile"] <= 2], "correct"),
            "accuracy_known_unpopular": mean(known[known["quartile"] > 2], "correct"),
            "subject_attention": mean(some, "subject_attention"),
            "genericness": mean(wrong, "common"),
        }
    return made


def _effects(arms: pd.DataFrame) -> tuple[Tree, Tree]:
    real = arms[arms["popularity"].isin((POPULAR, UNPOPULAR, RANDOM))]
    one, many = int(real["relations"].min()), int(real["relations"].max())
    made: Tree = {}
    for name, some in {
        "known": real[real["known"]],
        "all": real,
        # Every set of the seed teaches this relation's question form, so here that cannot be the difference.
        "first_known": real[real["known"] & real["first"]],
    }.items():
        made[name] = {
            "popular_minus_unpopular": effect(some, "popularity", POPULAR, UNPOPULAR),
            "popular_minus_random": effect(some, "popularity", POPULAR, RANDOM),
            "random_minus_unpopular": effect(some, "popularity", RANDOM, UNPOPULAR),
            "many_minus_one": effect(some, "relations", many, one),
            "all_minus_few": effect(some, "answers", ALL, FEW),
            "relations_interaction": interaction(some, "relations", many, one),
            "answers_interaction": interaction(some, "answers", ALL, FEW),
        }
        by_popularity = made[name]["popular_minus_unpopular"]
        made[name]["popularity_exceeds_relations"] = unpaired_difference(
            by_popularity, made[name]["many_minus_one"]
        )
        made[name]["popularity_exceeds_answers"] = unpaired_difference(
            by_popularity, made[name]["all_minus_few"]
        )
    attention = effect(real, "popularity", POPULAR, UNPOPULAR, column="subject_attention")
    made["subject_attention"] = {"popular_minus_unpopular": attention}
    flat = {f"{test}_{name}": value for test, part in made.items() for name, value in part.items()}
    dealt = arms[arms["popularity"].str.startswith("shuffled")]
    placebo: Tree = {}
    if len(dealt):
        names = f"shuffled {POPULAR}", f"shuffled {UNPOPULAR}"
        placebo["known_popular_minus_unpopular"] = effect(dealt[dealt["known"]], "popularity", *names)
    return flat, placebo


def effect(
    rows: pd.DataFrame, factor: str, first: object, second: object, column: str = "correct"
) -> Estimate:
    """Average, over facts and over settings of the other factors that both levels have, what one gains.

    Args:
        rows: a row a fact and set of the cross.
        factor: the factor's column.
        first: the level that gains.
        second: the level that is subtracted.
        column: what is averaged.
    """
    return paired_difference(
        _levels(rows, factor, (first, second), column), {factor: first}, {factor: second}, column
    )


def interaction(rows: pd.DataFrame, factor: str, first: object, second: object) -> Estimate:
    """Compare what popular facts gain over unpopular ones at two levels of another factor.

    Args:
        rows: a row a fact and set of the cross.
        factor: the other factor's column.
        first: the level whose gain counts.
        second: the level whose gain is subtracted.
    """
    changes = []
    for level in (first, second):
        some = _levels(rows[rows[factor] == level], "popularity", (POPULAR, UNPOPULAR), "correct")
        wide = some.pivot(index=["fact_id", "subject"], columns="popularity", values="correct")
        if {POPULAR, UNPOPULAR} <= set(wide):
            change = (wide[POPULAR] - wide[UNPOPULAR]).rename("change").reset_index()
            changes.append(change.assign(level=str(level)))
    if len(changes) < 2:
        return Estimate(value=None, low=None, high=None, n=0)
    both = pd.concat(changes, ignore_index=True)
    return paired_difference(both, {"level": str(first)}, {"level": str(second)}, "change")


def _levels(rows: pd.DataFrame, factor: str, levels: tuple[object, object], column: str) -> pd.DataFrame:
    """Average over the other factors' settings, those only that both levels have: a row a fact and level."""
    others = [name for name in FACTORS if name != factor]
    rows = rows[rows[factor].isin(levels)]
    both = rows.groupby(others)[factor].transform("nunique") == 2
    rows = rows[both].assign(**{column: rows.loc[both, column].astype(float)})
    return rows.groupby(["fact_id", "subject", factor])[column].mean().reset_index()


def _gradients(taken: pd.DataFrame) -> Tree:
    """Average norms, cosines and losses over a seed's draws; numbers of two like batches are one."""
    made: Tree = {}
    names = taken["name"].where(taken["kind"] == "cosine", taken["name"].str.rstrip("12"))
    for (kind, group, name), some in taken.groupby(["kind", "group", names]):
        part = made.setdefault(str(kind), {}).setdefault(str(group), {})
        part[str(name)] = estimate(some["value"].to_numpy(float), groups=some["draw"].to_numpy(), share=False)
    for part in made["cosine"].values():
        part[OWN_KIND] = _geometric(part["popular_popular"], part["unpopular_unpopular"])
    return made


def _geometric(first: Estimate, second: Estimate) -> Estimate:
    """Return the cosine that two kinds of batch would have if only the draw of facts set them apart."""
    if first.value is None or second.value is None or min(first.value, second.value) < 0:
        return Estimate(value=None, low=None, high=None, n=0)
    value = (first.value * second.value) ** 0.5
    return Estimate(value=value, low=None, high=None, n=min(first.n, second.n))


def _turned(cosines: Tree) -> Tree:
    return {
        group: {
            "random_popular_minus_random_unpopular": unpaired_difference(
                part["random_popular"], part["random_unpopular"]
            ),
            "placebo_minus_cross": unpaired_difference(part["random_random"], part["popular_unpopular"]),
            "own_kind_minus_cross": unpaired_difference(part[OWN_KIND], part["popular_unpopular"]),
            "popular_popular_minus_random_popular": unpaired_difference(
                part["popular_popular"], part["random_popular"]
            ),
        }
        for group, part in cosines.items()
    }
