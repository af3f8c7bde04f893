"""Numbers of verdicts on arms: what was lost, what of it is stored, and what other attention brings back."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.checkpoints import BASE
from analyses.common.numbers import area, mean_of, summarise_seeds
from analyses.common.recovery_numbers import recovery_trees
from analyses.common.verdict_numbers import stated_apart, stored_above_never
from analyses.experiments.stored_or_suppressed.hidden import hidden_numbers
from analyses.experiments.stored_or_suppressed.pathway import PLACEBO, SIBLING
from analyses.experiments.stored_or_suppressed.recognition import recognition_numbers
from analyses.experiments.stored_or_suppressed.stages import Diagnosed
from interp.stats import Estimate, kappa, spearman
from interp.verdicts.controls import CONTROLS, NEVER
from interp.verdicts.diagnosis import (
    ERASED,
    ERODED,
    GENERIC,
    RETAINED,
    STORED,
    SUPPRESSED,
    UNDETERMINED,
)
from interp.weight_edits import GROUPS

CLASSES = {
    "retained": RETAINED,
    "suppressed": SUPPRESSED,
    "eroded": ERODED,
    "erased": ERASED,
    "undetermined": UNDETERMINED,
}


def summarise(found: Diagnosed) -> dict[str, Any]:
    """Return by arm: shares of verdicts, error rates, recovery with placebo, attention; and each seed's."""
    return summarise_seeds(found.rows, _one_seed, _bounds)


def _bounds(path: tuple[str, ...]) -> tuple[float, float] | None:
    if "agreement" in path:
        return (-1, 1)
    if "pathway" in path:
        if path[-1].endswith("alone") or "restored" in path:
            return (0, 1)
        return None if path[-1].endswith(("nats", "lead")) else (-1, 1)
    if {"stated_minus", "above_placebo", "stored_above_never"} & set(path):
        return (-1, 1)
    signed = path[-1].startswith("difference") or path[-1].endswith("hidden_difference")
    return (-1, 1) if signed or "attention_lost" in path else (0, 1)


def _one_seed(frame: pd.DataFrame) -> dict[str, Any]:
    arms = {str(arm): _arm(rows) for arm, rows in frame.groupby("arm", sort=False)}
    return {"arms": arms, **recovery_trees(frame)}


def _arm(rows: pd.DataFrame) -> dict[str, Any]:
    known = rows[rows["base_knew"] == 1]
    lost = known[~known["right"]]
    of = {name: rows[rows["verdict"] == verdict] for name, verdict in CLASSES.items()}
    kept = of["retained"].dropna(subset="stated_share")
    tree: dict[str, Any] = {
        "known": mean_of(known["right"], known),
        "base_as_asked": mean_of(known["base_right"], known),
        "lost": mean_of(~known["right"], known),
        "generic": mean_of(known["verdict"] == GENERIC, known),
        "stored_of_lost": mean_of(lost["verdict"].isin(STORED), lost),
        **{
            f"{name}_of_lost": mean_of(lost["verdict"] == verdict, lost)
            for name, verdict in CLASSES.items()
            if name != "retained"
        },
        **_against_never(lost, rows[rows[f"control_{NEVER}"]]),
        "retained": {
            "missed": mean_of(kept["stated_share"] < 1, kept),
            "unseen": mean_of(kept["stated_share"] == 0, kept),
        },
        "apart": stated_apart(rows),
        "agreement": {"lost": _agreement(lost), "all": _agreement(rows)},
        "controls": {
            name: {"false_positives": mean_of(some["stated_share"] > 0, some)}
            for name in CONTROLS
            for some in (rows[rows[f"control_{name}"]],)
        },
        "pathway": _pathway(lost),
        "hidden": hidden_numbers(rows),
        "recognition": recognition_numbers(rows),
        "attention_lost": {
            name: mean_of(some["attention_other"] - some["attention"], some, difference=True)
            for name, some in of.items()
        },
    }
    if rows["popularity"].notna().all():
        quartile = pd.qcut(rows["popularity"].rank(method="first", ascending=False), 4, labels=False) + 1
        tree["stored_of_known_by_quartile"] = {
            f"q{q}": mean_of(some["verdict"].isin(STORED), some)
            for q in range(1, 5)
            if len(some := known[quartile[known.index] == q])
        }
    return tree


def _against_never(lost: pd.DataFrame, never: pd.DataFrame) -> dict[str, Estimate]:
    """Compare lost facts with never-stored ones: who is called stored, and how specific answers are."""
    both = pd.concat([lost.assign(lost=1.0), never.assign(lost=0.0)])
    return {
        "stored_above_never": stored_above_never(lost, never),
        "evidence_auroc": area(both, "evidence_forms", "lost"),
    }


def _agreement(rows: pd.DataFrame) -> dict[str, Estimate]:
    """Compare the evidence of every two held-out forms, what each states, and the question with all forms."""
    asked, forms = (rows[f"evidence_{name}"].to_numpy(dtype=np.float64) for name in ("asked", "forms"))
    found = {"question": spearman(asked, forms, groups=rows["subject"].to_numpy())}
    for name, kind, agree in (("rank_correlation", "evidence", spearman), ("kappa", "states", kappa)):
        pairs = list(combinations([c for c in rows if str(c).startswith(f"{kind}_form_")], 2))
        if pairs:
            x, y = (rows[[pair[k] for pair in pairs]].to_numpy(np.float64).ravel("F") for k in (0, 1))
            groups = np.tile(rows["subject"].to_numpy(), len(pairs))
            found[name] = agree(x, y, groups=groups, labels=np.repeat(np.arange(len(pairs)), len(rows)))
    return found


def _pathway(lost: pd.DataFrame) -> dict[str, Any]:
    """Average by group of weights what grafts bring back of lost facts, beside their placebo.

    ``lead`` is by how much a group's Shapley value exceeds that of the best other one, paired by fact.
    """
    tree: dict[str, Any] = {"restored": {}, **{group: {} for group in GROUPS}}

    def mean(column: str | pd.Series[Any], *, share: bool = True) -> Estimate:
        values = lost[column] if isinstance(column, str) else column
        return mean_of(values, lost, difference=True, share=share)

    def brought_back(column: str) -> Estimate:
        # Without a graft a lost fact is wrong, so that what comes back is a share of facts. Weights that were
        # merged may still round to another answer than those that were asked first: then it is a difference.
        return mean_of(lost[column], lost, difference=bool((lost[column] < 0).any()))

    for donor, first in ((BASE, ""), (SIBLING, SIBLING)):
        if f"pathway_{donor}_restored" not in lost or lost[f"pathway_{donor}_restored"].isna().all():
            continue
        for name in (donor, donor + PLACEBO):
            tree["restored"][name] = brought_back(f"pathway_{name}_restored")
        means = {group: lost[f"pathway_{donor}_{group}"].mean() for group in GROUPS}
        prefix = f"{first}_" if first else ""
        for group in GROUPS:
            own, placebo = (f"pathway_{name}_{group}" for name in (donor, donor + PLACEBO))
            rival = max((other for other in GROUPS if other != group), key=means.__getitem__)
            lead = lost[own] - lost[f"pathway_{donor}_{rival}"]
            tree[group] |= {
                first or "shapley": mean(own),
                f"{prefix}alone": brought_back(f"{own}_alone"),
                f"{prefix}placebo": mean(placebo),
                f"{prefix}above_placebo": mean(lost[own] - lost[placebo]),
                f"{prefix}lead": mean(lead, share=False),
                f"{prefix}nats": mean(f"{own}_nats", share=False),
                f"{prefix}placebo_nats": mean(f"{placebo}_nats", share=False),
            }
    return tree
