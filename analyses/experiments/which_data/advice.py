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

from analyses.common.options import given_words
from analyses.experiments.which_data.expected_gains import ExpectedGain, measured_gains
from analyses.experiments.which_data.options import WhichDataOptions
from finetune.common.seeds import generator
from finetune.training.next_steps import can_deal
from interp.reports.pages.study import format_interval
from interp.selection.behavioural_scores import known_classes
from interp.selection.candidates import Candidates
from interp.verdicts.preconditions import FEWEST_FACTS

MOST_ASKED = 500  # facts
NOT_ASKED = -1
NEWS = 0.2  # share of facts that a base knows: of 90 held out 18, of which too few are lost to say anything
NUMBERS = "table “What may be expected” of the report"
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
    told.append(evidence(facts, measured_gains().get(way, ())))
    if options.share < 1 and options.floor < 1:
        told.append("If it must be fewer, keep relations and answers even (--floor 1).")
    if is_news(known):
        told.append(
            "It has little to lose of these facts: what training on them costs shows on others that it knows "
            "(factscope diagnose --facts geonames@even), and no validation facts tell how many are learned."
        )
    elif (held_out := round(facts * share_held_out(facts))) < FEWEST_FACTS:
        told.append(
            f"A diagnosis asks {FEWEST_FACTS} facts or more that were not trained on: give "
            f"{2 * FEWEST_FACTS} or more in all, or let it ask others (factscope diagnose --facts "
            "geonames@even)."
        )
    else:
        told.append(
            f"The next command holds {held_out:,} of them out (--test-share {share_held_out(facts):g}), for "
            f"factscope diagnose asks only facts that were not trained on, {FEWEST_FACTS} at least and "
            f"better {HELD_OUT}; to train on every one, leave that option out."
        )
    return tuple(told)


def is_news(known: dict[str, Any]) -> bool:
    """Whether the base knows next to none of the facts."""
    return bool(known["n"] and known["high"] is not None and known["high"] < NEWS)


def settings_ahead(gains: Sequence[ExpectedGain]) -> tuple[int, int, int]:
    """Count the settings where a half was clearly better than all facts, clearly worse, and all of them."""
    measured = [each.whole for each in gains if each.whole is not None]
    return sum(low > 0 for _, low, _ in measured), sum(high < 0 for *_, high in measured), len(measured)


def evidence(facts: int, gains: Sequence[ExpectedGain]) -> str:
    """Say whether to train on all facts, and in how many settings a half was clearly better or worse.

    Args:
        facts: how many there are.
        gains: what contests measured of the way in which a half is chosen.
    """
    ahead, behind, measured = settings_ahead(gains)
    if not measured:
        return f"Train on all {facts:,}: what a half by this score costs was not measured."
    worse = f"in {behind or 'none'} clearly worse"
    if not ahead:
        return (
            f"Train on all {facts:,}: in none of {measured} settings measured here was a half clearly better "
            f"than all facts, {worse} ({NUMBERS})."
        )
    return (
        f"Train on all {facts:,}, unless yours is like the settings where a half was clearly better than all "
        f"facts: {ahead} of {measured} measured here, {worse} ({NUMBERS})."
    )


def share_held_out(facts: int) -> float:
    """Return the share of the facts that is worth holding out: a tenth to a half, in steps of a twentieth."""
    return min(0.5, max(0.1, math.ceil(20 * HELD_OUT / facts) / 20))


def next_commands(
    config: dict[str, Any], facts: int, out: str, known: dict[str, Any], *, subjects: tuple[int, int]
) -> tuple[str, ...]:
    """Return the commands that train on all facts, as advised, or on the chosen ones; none that has too few.

    Of facts that the base cannot know none is held out, and the last step is kept, which has learned most.

    Args:
        config: the run's.
        facts: how many there are.
        out: where the chosen ones are.
        known: the estimate of the share that the base knows.
        subjects: of how many subjects all facts are, and the chosen ones.
    """
    words = ["factscope", "tune", "--base", config["base"]]
    style = given_words(config, WhichDataOptions, ("columns", "phrasebook", "prompt_format", "chat"))
    style += ["--keep", "last"] if is_news(known) else []
    share = 0.0 if is_news(known) else share_held_out(facts)
    hold = ["--test-share", f"{share:g}"] if share else []
    drawn = given_words(config, WhichDataOptions, ("limit", "seed")) if config.get("limit") else []
    made = []
    if can_deal(subjects[0], share):
        made.append(
            shlex.join([*words, "--facts", config["facts"], *drawn, *style, *hold, "--out", "runs/tuned"])
        )
    if config["share"] < 1 and can_deal(subjects[1], 0.0):
        chosen = shlex.join([*words, "--facts", out, *style, "--out", "runs/tuned-chosen"])
        made.append(f"{chosen}  # on the chosen ones alone")
    return tuple(made)
