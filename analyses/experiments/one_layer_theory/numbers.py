"""Numbers of the one-layer theory's experiment: what m says, what moved, and how well the two agree."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from analyses.common.numbers import (
    Bounds,
    Tree,
    columns,
    mean,
    paired_difference,
    same_sign,
    spearman,
    summarise_seeds,
)
from analyses.experiments.one_layer_theory.rows import STEPPED, TRAINED
from interp.stats import Estimate, same_sign_gain, spearman_gain

GEOMETRIES = ("random", "orthonormal")
DEEP = "deep"
WHERE = ("own", "untrained")
READINGS = ("m", "m_exact", "m_other")


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the gradients' gap, and of the one-layer model and the deep one what m says and what moved.

    Each part is summed up over its seeds; ``seeds`` holds every seed's own numbers.
    """
    results: dict[str, Any] = {"seeds": {}}
    for part in (*GEOMETRIES, DEEP):
        rows = frame[frame["part"] == part]
        if rows.empty:
            continue
        made = summarise_seeds(rows, _deep if part == DEEP else _small, _bounds)
        for seed, tree in made.pop("seeds").items():
            results["seeds"].setdefault(seed, {})[part] = tree
        results[part] = made
    checks = frame[frame["kind"] == "gradient"]
    if len(checks):
        results["gradient"] = _gradient(float(checks["gap"].max()), int(checks["compared"].sum()))
    return results


def _gradient(gap: float, n: int) -> dict[str, Any]:
    """Return the largest difference over all gradients compared: counted, so its bounds are itself."""
    digits = -math.log10(max(gap, 1e-300))
    names = {"max_abs_diff": gap, "digits": digits}
    return {name: {"value": v, "low": v, "high": v, "n": n} for name, v in names.items()}


def _bounds(path: tuple[str, ...]) -> Bounds | None:
    name = path[-1]
    if name.startswith("m_") and "runs" in path and "follows" not in path:
        return None
    shares = ("rose", "sign", "negative", "accuracy", "stated")
    if name.startswith(shares) and not {"contrasts", "sign_gain", "rose_more"} & set(path):
        return 0, 1
    return (-2, 2) if name == "rank_gain" else (-1, 1)


def _small(rows: pd.DataFrame) -> Tree:
    facts, steps, runs = (rows[rows["kind"] == kind] for kind in ("fact", "step", "run"))
    met = facts[facts["sightings"] > 0].assign(more=lambda f: f["rose"] - f["rose_elsewhere"])
    moved = steps.assign(negative=steps["m"] < 0)
    return {
        "salience": {
            **{name: mean(met, name) for name in ("rose", "rose_since", "rose_elsewhere", "stated")},
            "rose_more": mean(met, "more", difference=True),
            "rank": spearman(facts, "sightings", "salience"),
        },
        "step": {
            "negative": mean(moved, "negative"),
            "sign_own": same_sign(steps, "m", "own"),
            "sign_untrained": same_sign(steps, "m", "untrained"),
            "sign_pairs": mean(steps, "agreeing"),
            "sign_other_prompts": same_sign(steps, "m", "other_prompts"),
            "sign_placebo": same_sign(steps, "m_other", "untrained"),
            "sign_gain": _sign_gain(steps, "untrained"),
            **{f"rank_{where}": spearman(steps, "m", where) for where in WHERE},
            "rank_placebo": spearman(steps, "m_other", "untrained"),
        },
        "runs": {key(trained): _of_runs(runs[runs["trained"] == trained]) for trained in TRAINED},
    }


def _of_runs(runs: pd.DataFrame) -> Tree:
    known = runs[runs["known"]]
    arms: Tree = {}
    for arm, some in runs.groupby("arm", sort=False):
        arms[str(arm)] = {
            "change": mean(some, "change", difference=True),
            "accuracy": mean(some, "correct"),
            "accuracy_known": mean(some[some["known"]], "correct"),
            "m_start": mean(some, "m_start", share=False),
            "m_whole": mean(some, "m_whole", share=False),
        }
    contrasts = {}
    for prefix in ("", "shuffled_"):
        if f"{prefix}top" in arms:
            pair = {"arm": f"{prefix}top"}, {"arm": f"{prefix}bottom"}
            contrasts[f"{prefix}top_minus_bottom"] = {
                "change": paired_difference(runs, *pair, "change"),
                "accuracy": paired_difference(runs, *pair, "correct"),
                "accuracy_known": paired_difference(known, *pair, "correct"),
            }
    taken = ["change", "m_start", "m_whole"]
    groups = runs.groupby(["arm", "relation"], sort=False)[taken].mean().reset_index()
    follows = {name: spearman(groups, name, "change", groups="relation") for name in taken[1:]}
    return {"arms": arms, "contrasts": contrasts, "follows": follows}


def _deep(rows: pd.DataFrame) -> Tree:
    """Rank correlations and signs, for the sum over heads and head by head."""
    tree: Tree = {}
    for stepped in STEPPED:
        of_step = rows[rows["stepped"] == stepped]
        whole, heads = of_step[of_step["head"] == -1], of_step[of_step["head"] >= 0]
        tree[key(stepped)] = {
            where: {
                **{f"rank_{name}": spearman(whole, name, where) for name in READINGS},
                **{
                    f"rank_within_{name}": spearman(whole, name, where, within="relation")
                    for name in READINGS
                },
                "rank_gain": spearman_gain(
                    *columns(whole, "m", "m_other", where), groups=whole["subject"].to_numpy()
                ),
                **{f"sign_{name}": same_sign(whole, name, where) for name in READINGS},
                "sign_gain": _sign_gain(whole, where),
                **{f"heads_rank_{name}": _over_heads(heads, name, where) for name in READINGS},
                **{f"sign_heads_{name}": same_sign(heads, name, where) for name in READINGS},
            }
            for where in WHERE
        }
    first = rows[(rows["stepped"] == STEPPED[0]) & (rows["head"] == -1)]
    tree["proxy"] = {"rank": spearman(first, "m", "m_exact"), "sign": same_sign(first, "m", "m_exact")}
    tree["m"] = {"negative": mean(first.assign(negative=first["m"] < 0), "negative")}
    return tree


def _sign_gain(rows: pd.DataFrame, where: str) -> Estimate:
    """Measure in how many more rows m has the sign of the change than another fact's m has."""
    return same_sign_gain(*columns(rows, "m", "m_other", where), groups=rows["subject"].to_numpy())


def _over_heads(rows: pd.DataFrame, name: str, where: str) -> Estimate:
    """Average over heads the correlation, within a head, of its m with the change of its attention."""
    placed = rows.assign(place=rows["layer"].astype(str) + "." + rows["head"].astype(str))
    found = spearman(placed, name, where, within="place")
    return replace(found, n=rows["fact_id"].nunique())  # a fact counts once, whatever the number of heads


def key(name: str) -> str:
    """Name a place in the results."""
    return name.replace(" ", "_")
