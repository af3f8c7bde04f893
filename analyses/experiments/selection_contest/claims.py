"""What the contest is to decide, worded before it was run; "no worse" allows a margin of two points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analyses.experiments.selection_contest.setups import (
    FIRST,
    HALF,
    POPULAR,
    RANDOM,
    SHUFFLED,
    WHOLE,
    WITHOUT_LABELS,
)
from interp.reports.pages.study import decide_claim, format_entry

if TYPE_CHECKING:
    from interp.reports.pages.study import Claim

MARGIN = 0.02  # what may be lost without counting as worse, set before the first run
_WORSE = f"more than {100 * MARGIN:g} points worse"
OPEN, FIRST_LOOK = "open: choosing data", "first measurement, one seed"
NONE: dict[str, Any] = {"value": None, "low": None, "high": None, "n": 0}
WORDED = {"all": "all held-out facts", "known": "held-out facts that the base states"}
RIVAL = {POPULAR: "the popular half", WHOLE: "all facts", RANDOM: "a random half"}


def claims(results: dict[str, Any], method: str) -> tuple[Claim, ...]:
    """Let the numbers decide; the first claim is the aim, for the score that did best in a first look."""
    halves = sets_of(results, method, "steps")
    names = sorted((name for name in WITHOUT_LABELS if name in halves), key=lambda name: name != FIRST)
    made = [
        _no_worse(
            f"the half that {name} chooses is nowhere {_WORSE} than the popular half or all facts "
            "(the worst of four comparisons: on all held-out facts, and on those that the base states)",
            worst([number_of(halves, name, rival, part) for rival in (POPULAR, WHOLE) for part in WORDED]),
        )
        for name in names
    ]
    made += [
        decide_claim(
            f"the half that {FIRST} chooses serves {worded} better than {RIVAL[rival]}",
            FIRST_LOOK,
            number_of(halves, FIRST, rival, part),
            unit="points",
        )
        for rival in (POPULAR, WHOLE)
        for part, worded in WORDED.items()
    ]
    made += [
        decide_claim(
            f"the half chosen by the score that is best on other seeds serves all held-out facts better "
            f"than {RIVAL[rival]}",
            OPEN,
            results["winner"].get(rival, {}).get("all", NONE),
            unit="points",
        )
        for rival in (POPULAR, WHOLE)
    ]
    made += [
        _no_worse(f"{told} serves all held-out facts not {_WORSE} than the popular {share}", number)
        for told, share, number in _variants(results, method)
    ]
    for name in (FIRST, SHUFFLED):
        placebo = " (placebo)" if name == SHUFFLED else ""
        made.append(
            decide_claim(
                f"the half that {name} chooses serves all held-out facts better than a random half{placebo}",
                OPEN,
                number_of(halves, name, RANDOM, "all"),
                unit="points",
            )
        )
    return tuple(made)


def _variants(results: dict[str, Any], method: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
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


def worst(numbers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the comparison that decides whether none is worse: one that is if there is any, else the lowest.

    That none is worse is shown where each interval is above the bound, which the lowest end decides; that
    one is, where some interval is below it.
    """
    measured = [number for number in numbers if number["low"] is not None]
    if len(measured) < len(numbers):
        return NONE
    lowest = min(measured, key=lambda number: number["high"])
    return lowest if lowest["high"] < -MARGIN else min(measured, key=lambda number: number["low"])


def failures(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """List where a label-free score is worse than its rival by more than the margin, beyond its interval."""
    found: list[tuple[str, ...]] = []
    for method, budgets in results["ahead"].items():
        for budget, scores in budgets.items():
            for score, keeps in scores.items():
                for keep, rivals in keeps.items() if score in WITHOUT_LABELS else ():
                    for rival in (POPULAR, WHOLE):
                        for part, number in rivals.get(rival, {}).items():
                            if number["high"] is not None and number["high"] < -MARGIN:
                                where = (method, budget, f"{100 * float(keep):g}%", score, rival, part)
                                found.append(
                                    (*where, format_entry(number, unit="%", signed=True).replace("%", ""))
                                )
    return found


def _no_worse(claim: str, number: dict[str, Any]) -> Claim:
    return replace(decide_claim(claim, OPEN, number, above=-MARGIN, unit="points"), signed=True)


def sets_of(results: dict[str, Any], method: str, budget: str, keep: float = HALF) -> dict[str, Any]:
    """Return, by score, what its sets of one share are ahead of their rivals by."""
    scores = results["ahead"].get(method, {}).get(budget, {})
    return {name: keeps[f"{keep:g}"] for name, keeps in scores.items() if f"{keep:g}" in keeps}


def number_of(halves: dict[str, Any], score: str, rival: str, part: str) -> dict[str, Any]:
    """Return what one of these sets is ahead of a rival by on some facts, or that it was not measured."""
    return halves.get(score, {}).get(rival, {}).get(part, NONE)
