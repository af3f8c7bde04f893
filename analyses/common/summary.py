"""From one row per fact, arm and seed to headline numbers, each with an interval and an n.

Every mean is over facts, so that a subject with ten facts counts ten times. Within a seed its interval is a
bootstrap over subjects of that same mean, paired where two arms answer the same facts. With several seeds it
is a t-interval over the seeds' values, because then the claim is about training; it is wider where the seeds
split the same facts (``test_over_train`` in the rows), whose trainings are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from analyses.common.numbers import Tree, mean, paired_difference, summarise_seeds
from interp.measures.generic_answers import answer_genericness
from interp.stats import mean_by_cell

# Without sinks, with them, in the recall heads of the first model compared (on facts not used to find them),
# and weighted by what values write.
ATTENTION = (
    "subject_attention",
    "subject_attention_raw",
    "subject_attention_recall",
    "value_weighted_share",
)


def summarise(facts: pd.DataFrame) -> Tree:
    """Return ``arms``, ``contrasts`` and ``recovery`` over seeds, and the same per seed under ``seeds``."""
    return summarise_seeds(facts, _one_seed, _bounds)


def _one_seed(facts: pd.DataFrame) -> Tree:
    arms = {str(name): _arm(rows) for name, rows in facts.groupby("arm", sort=False)}
    return {"arms": arms, "contrasts": _contrasts(facts), "recovery": recovery(facts)}


def _arm(rows: pd.DataFrame) -> Tree:
    known = rows[rows["known"]]
    quartiles = {f"q{q}": mean(rows[rows["quartile"] == q], "correct") for q in (1, 2, 3, 4)}
    return {
        "accuracy": mean(rows, "correct"),
        "accuracy_known": mean(known, "correct"),
        "accuracy_by_quartile": quartiles,
        **{name: mean(rows[rows[name].notna()], name) for name in ATTENTION if name in rows},
        **_specificity(rows),
        **_evidence(known),
        **_recall(known),
    }


def _specificity(rows: pd.DataFrame) -> Tree:
    """Average how specific answers are to subjects, how other rules judge them, and how often otherwise.

    ``accuracy_uncommon`` is over facts whose answer is not their relation's commonest, and
    ``accuracy_uncommon_known`` over those of them that the base knows; ``answer_entropy`` and
    ``answer_information`` are in bits (:mod:`interp.measures.generic_answers`).
    """
    if "given" not in rows:
        return {}
    found = answer_genericness(*(rows[name].tolist() for name in ("relation", "given", "answer")))
    told = rows.assign(
        modal=found.modal.astype(float),
        answer_entropy=found.surprisal,
        answer_information=found.information,
        exact_disagrees=(rows["correct"] != rows["exact"]).astype(float),
        contains_disagrees=(rows["correct"] != rows["contains"]).astype(float),
    )
    uncommon = told[found.uncommon]
    return {
        "accuracy_uncommon": mean(uncommon, "correct"),
        "accuracy_uncommon_known": mean(uncommon[uncommon["known"]], "correct"),
        "modal_share": mean(told, "modal"),
        "answer_entropy": mean(told, "answer_entropy", share=False),
        "answer_information": mean(told, "answer_information", share=False),
        "accuracy_exact": mean(rows, "exact"),
        "accuracy_contains": mean(rows, "contains"),
        "exact_disagrees": mean(told, "exact_disagrees"),
        "contains_disagrees": mean(told, "contains_disagrees"),
    }


def _evidence(known: pd.DataFrame) -> Tree:
    """Average, over known facts, what hiding a part of the prompt costs and what the values still say.

    ``knockout_*`` is in nats of log p(answer). ``readout_stored`` and ``readout_used`` are the shares of
    facts whose gold answer is read most strongly of its relation's, unweighted and weighted by attention.
    """
    if "stored_rank" not in known:
        return {}
    shares = known.assign(readout_stored=known["stored_rank"] == 0, readout_used=known["used_rank"] == 0)
    names = ("knockout_subject", "knockout_relation", "readout_stored", "readout_used")
    return {name: mean(shares, name, share=not name.startswith("knockout")) for name in names}


def _recall(known: pd.DataFrame) -> Tree:
    """Average where logit differences come from, over those known facts whose recall was split."""
    names = [name for name in known if str(name).startswith("recall_")]
    return {str(name): mean(known[known[name].notna()], str(name), share=False) for name in names}


def _contrasts(facts: pd.DataFrame) -> Tree:
    arms = list(dict.fromkeys(facts["arm"]))
    if {"top", "bottom"} <= set(arms):
        pairs = [("top", "bottom"), ("top", "whole"), ("top", "random"), ("random", "bottom")]
    else:
        pairs = [(arm, "base") for arm in arms if arm != "base"]
    return {f"{a}_minus_{b}": _contrast(facts, a, b) for a, b in pairs if {a, b} <= set(arms)}


def _contrast(facts: pd.DataFrame, first: str, second: str) -> Tree:
    """Pair two arms by fact and average the differences."""
    sides = {"arm": first}, {"arm": second}
    return {
        "accuracy": paired_difference(facts, *sides, "correct"),
        "accuracy_known": paired_difference(facts[facts["known"]], *sides, "correct"),
        **{
            name: paired_difference(facts[facts[name].notna()], *sides, name)
            for name in ATTENTION
            if name in facts
        },
    }


def recovery(facts: pd.DataFrame) -> Tree:
    """Average the transplant and its placebo over the same facts: those that have both."""
    if "recovered" not in facts:
        return {}
    rows = facts[facts["recovered"].notna() & facts["placebo_recovered"].notna()]
    rows = rows.assign(
        pattern_only=rows["recovered"].astype(float), placebo=rows["placebo_recovered"].astype(float)
    )
    rows = rows.assign(difference=rows["pattern_only"] - rows["placebo"])
    names = ("pattern_only", "placebo", "difference")
    return {name: mean(rows, name, difference=name == "difference") for name in names}


def _bounds(path: tuple[str, ...]) -> tuple[float, float] | None:
    """All but differences, nats, logits and ratios of norms are shares: accuracies and masses."""
    unbounded = ("knockout", "recall_", "answer_entropy", "answer_information", "value_weighted")
    if any(name in path[-1] for name in unbounded):
        return None
    return (-1, 1) if "contrasts" in path or path[-1] == "difference" else (0, 1)


def head_means(frame: pd.DataFrame, mass: Mapping[str, Float[ndarray, "fact layer head"]]) -> dict[str, Any]:
    """Average one seed's subject attention per arm, layer and head, with intervals over subjects.

    The mean is over facts, and the interval is of that mean: whole subjects are drawn, and all facts of those
    drawn are averaged. Seeds are not averaged: head 3 of one training is not head 3 of another. Of one
    subject alone there is no interval.
    """
    out: dict[str, Any] = {"seed": int(frame["seed"].iloc[0]), "arms": {}, "low": {}, "high": {}}
    for arm, values in mass.items():
        subjects = frame.loc[frame["arm"] == arm, "subject"].to_numpy()
        cells = mean_by_cell(values, groups=subjects)
        for key, numbers in zip(("arms", "low", "high"), cells, strict=True):
            if not np.isnan(numbers).any():
                out[key][arm] = numbers.round(5).tolist()
        out["n"], out["n_layers"], out["n_heads"] = values.shape
    return out
