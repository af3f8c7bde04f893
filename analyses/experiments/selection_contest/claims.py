"""What the contest is to decide, worded before it was run; "no worse" allows a margin of two points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from analyses.experiments.selection_contest.setups import (
    FIRST,
    HALF,
    POPULAR,
    RANDOM,
    SHUFFLED,
    WHOLE,
    WITHOUT_LABELS,
)
from interp.reports.pages.results_tables import decide_each, decide_worded, write_number
from interp.reports.pages.study import Claim
from interp.reports.read.results import NONE, Number, Results

MARGIN = 0.02  # what may be lost without counting as worse, set before the first run
_WORSE = f"more than {100 * MARGIN:g} points worse"
OPEN, FIRST_LOOK = "open: choosing data", "first measurement, one seed"
WORDED = {"all": "all held-out facts", "known": "held-out facts that the base states"}
RIVAL = {POPULAR: "the popular half", WHOLE: "all facts", RANDOM: "a random half"}


def claims(results: Results, method: str) -> tuple[Claim, ...]:
    """Let the numbers decide; the first claim is the aim, for the score that did best in a first look."""
    halves = sets_of(results, method, "steps")
    names = sorted((name for name in WITHOUT_LABELS if name in halves), key=lambda name: name != FIRST)
    none_worse = [
        _no_worse(
            f"the half that {name} chooses is nowhere {_WORSE} than the popular half or all facts "
            "(the worst of four comparisons: on all held-out facts, and on those that the base states)",
            worst([halves[name].at(f"{rival}/{part}") for rival in (POPULAR, WHOLE) for part in WORDED]),
        )
        for name in names
    ]
    first = [
        (f"the half that {FIRST} chooses serves {worded} better than {RIVAL[rival]}", FIRST_LOOK, rival, part)
        for rival in (POPULAR, WHOLE)
        for part, worded in WORDED.items()
    ]
    winner = "the half chosen by the score that is best on other seeds serves all held-out facts better than"
    chosen = [
        (f"{winner} {RIVAL[rival]}", OPEN, f"winner/{rival}/all", "points") for rival in (POPULAR, WHOLE)
    ]
    variants = [
        _no_worse(f"{told} serves all held-out facts not {_WORSE} than the popular {share}", number)
        for told, share, number in _variants(results, method)
    ]
    over_chance = "chooses serves all held-out facts better than a random half"
    chance = [
        decide_worded(number_of(halves, name, RANDOM, "all"), f"the half that {name} {told}", OPEN, "points")
        for name, told in ((FIRST, over_chance), (SHUFFLED, f"{over_chance} (placebo)"))
    ]
    return (
        *none_worse,
        *(
            decide_worded(number_of(halves, FIRST, *of), text, source, "points")
            for text, source, *of in first
        ),
        *decide_each(results, chosen),
        *variants,
        *chance,
    )


def _variants(results: Results, method: str) -> Iterator[tuple[str, str, Number]]:
    """Yield the first score's other sets, each with the popular share it is compared with, where made."""
    sets = {
        f"the quarter that {FIRST} chooses": ("quarter", sets_of(results, method, "steps", 0.25)),
        f"after as many epochs, the half that {FIRST} chooses": ("half", sets_of(results, method, "epochs")),
    }
    if method != "lora":
        sets[f"with LoRA, the half that {FIRST} chooses"] = ("half", sets_of(results, "lora", "steps"))
    for told, (share, some) in sets.items():
        if FIRST in some:
            yield told, share, number_of(some, FIRST, POPULAR, "all")


def worst(numbers: list[Number]) -> Number:
    """Return the comparison that decides whether none is worse: one that is if there is any, else the lowest.

    That none is worse is shown where each interval is above the bound, which the lowest end decides; that
    one is, where some interval is below it.
    """
    if any(number["low"] is None for number in numbers):
        return NONE
    lowest = min(numbers, key=lambda number: number["high"])
    return lowest if lowest["high"] < -MARGIN else min(numbers, key=lambda number: number["low"])


def failures(results: Results) -> list[tuple[str, ...]]:
    """List where a label-free score is worse than its rival by more than the margin, beyond its interval."""
    found: list[tuple[str, ...]] = []
    ahead = results.part("ahead").numbers
    for (method, budget, score, keep, rival, part), number in ahead.items():
        if score not in WITHOUT_LABELS or rival not in (POPULAR, WHOLE) or number["high"] is None:
            continue
        if number["high"] < -MARGIN:
            kept = f"{100 * float(keep):g}%"
            found.append((method, budget, kept, score, rival, part, write_number(number, "points")))
    return found


def _no_worse(claim: str, number: Number) -> Claim:
    return replace(decide_worded(number, claim, OPEN, "points", -MARGIN), signed=True)


def sets_of(results: Results, method: str, budget: str, keep: float = HALF) -> dict[str, Results]:
    """Return, by score, what its sets of one share are ahead of their rivals by.

    Args:
        results: the run's.
        method: how the sets were trained on, full or LoRA.
        budget: ``steps`` or ``epochs``.
        keep: the share of the facts that the sets hold.
    """
    scores = results.below(f"ahead/{method}/{budget}")
    return {name: part for name, keeps in scores.items() if (part := keeps.part(f"{keep:g}")).numbers}


def number_of(halves: dict[str, Results], score: str, rival: str, part: str) -> Number:
    """Return what one of these sets is ahead of a rival by on some facts, or that it was not measured.

    Args:
        halves: what :func:`sets_of` returned.
        score: what the set was chosen by.
        rival: the set that it is compared with.
        part: which held-out facts, a key of ``WORDED``.
    """
    return halves[score].at(f"{rival}/{part}") if score in halves else NONE
