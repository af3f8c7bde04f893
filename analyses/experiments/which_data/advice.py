"""Advice before training: how many facts the base knows, whether halving them is advised, what to do next.

Known here: answered right under one at least of three few-shot prompts, asked of a random draw of many facts
(:mod:`finetune.evaluation.consistency`). Whether a half is advised is read from what contests measured
(``expected_gains.json``), never from the facts at hand.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from analyses.experiments.which_data.expected_gains import ExpectedGain, measured_gains
from analyses.experiments.which_data.options import WhichDataOptions
from finetune.common.seeds import generator
from interp.reports.pages.study import format_interval
from interp.selection.behavioural_scores import known_classes
from interp.selection.candidates import Candidates
from interp.verdicts.controls import FEWEST_CONTROLS

MOST_ASKED = 500  # facts
NOT_ASKED = -1
HELD_OUT = 90  # facts that a diagnosis is to have: more than twice what it needs


def knowledge_classes(candidates: Candidates) -> Int[ndarray, " fact"]:
    """Return the class of each fact that is asked, a place in CLASSES; -1 for the others."""
    n = len(candidates.facts)
    rows = sorted(generator(candidates.seed, "facts asked for advice").permutation(n)[:MOST_ASKED].tolist())
    classes = np.full(n, NOT_ASKED)
    classes[rows] = known_classes(candidates if len(rows) == n else candidates.subset(rows))[0]
    return classes


def advice(options: WhichDataOptions, way: str, facts: int, known: dict[str, Any]) -> tuple[str, ...]:
    """Say what to do, sentence by sentence: what the base knows, all facts or a half, and what else.

    Args:
        options: the command's.
        way: how facts are kept, as contests call it.
        facts: how many there are.
        known: the estimate of the share that the base knows.
    """
    told = []
    if n := known["n"]:
        of = f"{n:,} facts" if n == facts else f"{n:,} facts drawn of {facts:,}"
        span = format_interval(known["value"], known["low"], known["high"], unit="%")
        told.append(
            f"The base knows {round(known['value'] * n):,} of {of}: {span} are answered right under at least "
            "one of three few-shot prompts."
        )
    told.append(f"Train on all {facts:,}. {evidence(measured_gains().get(way, ()))}")
    if known["n"] and known["high"] is not None and known["high"] < 0.1:
        told.append(
            "It has little to lose of these facts: what training on them costs shows on others that it knows "
            "(factscope diagnose --facts geonames@even)."
        )
    if facts * share_held_out(facts) < FEWEST_CONTROLS:
        told.append(
            f"A diagnosis asks {FEWEST_CONTROLS} facts or more that were not trained on: give "
            f"{2 * FEWEST_CONTROLS} or more in all, or let it ask others (factscope diagnose --facts "
            "geonames@even)."
        )
    if options.keep < 1:
        told.append("If it must be fewer, keep relations and answers even, as --floor 1 does.")
    return tuple(told)


def evidence(gains: Sequence[ExpectedGain]) -> str:
    """Say whether a half was ever clearly ahead of all facts, with the numbers that say so."""
    measured = sorted((each.whole, each.setting) for each in gains if each.whole is not None)
    if not measured:
        return "Halving is not advised: what a half by this score costs was not measured."
    ends = " to ".join(
        f"{format_interval(*(100 * x for x in whole), signed=True)[:-1]}; {setting.partition(', full')[0]})"
        for whole, setting in dict.fromkeys((measured[0], measured[-1]))
    )
    ahead = sum(low > 0 for (_, low, _), _ in measured)
    lead = "A half was" if ahead else "Halving is not advised: a half was"
    return (
        f"{lead} clearly ahead of all facts in {ahead or 'none'} of {len(measured)} settings (points of "
        f"held-out accuracy from {ends})."
    )


def share_held_out(facts: int) -> float:
    """Return the share of the facts that is worth holding out: a tenth to a half, in steps of a twentieth."""
    return min(0.5, max(0.1, math.ceil(20 * HELD_OUT / facts) / 20))


def next_commands(config: dict[str, Any], facts: int, out: str) -> tuple[str, ...]:
    """Return the commands that train on all facts, as advised, or on the chosen ones.

    Args:
        config: the run's.
        facts: how many there are.
        out: where the chosen ones are.
    """
    words = ["factscope", "tune", "--base", config["base"]]
    style: list[str] = []
    if config["columns"]:
        style += ["--columns", *config["columns"]]
    for name in ("phrasebook", "prompt_format"):
        if config.get(name) and config[name] != WhichDataOptions.prompt_format:
            style += [f"--{name.replace('_', '-')}", str(config[name])]
    style += ["--chat"] if config["chat"] else []
    hold = ["--test-share", f"{share_held_out(facts):g}"]
    made = [shlex.join([*words, "--facts", config["facts"], *style, *hold, "--out", "runs/tuned"])]
    if config["keep"] < 1:
        chosen = shlex.join([*words, "--facts", out, *style, "--out", "runs/tuned-chosen"])
        made.append(f"{chosen}  # on the chosen ones alone")
    return tuple(made)
