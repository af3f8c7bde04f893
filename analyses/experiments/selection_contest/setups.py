"""What the contest trains: which score keeps which share, how, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from interp.selection.scores import LABEL_FREE, SCORES

Method = Literal["full", "lora"]
Budget = Literal["steps", "epochs"]
Judged = Literal["halves", "main", "none"]

WHOLE, POPULAR, RANDOM, SHUFFLED, FIRST = "whole", "popularity", "random", "shuffled", "statement"
HALF = 0.5
KEEPS = (0.1, 0.25, HALF, 0.75)
LOW = (0.1, 0.25)
# Chosen by the score with every relation and answer type kept at its own share (a floor of 1).
EVEN = {"statement_even": FIRST}
WAYS = (*SCORES, *EVEN)
WITHOUT_LABELS = (*LABEL_FREE, *EVEN)
# A base of an embedded world was never shown solved examples, so that classes under them say nothing.
SMALL = tuple(name for name in WAYS if name not in ("consistency", "maybe_known"))
MAIN = (FIRST, POPULAR, RANDOM)  # compared at every share and budget, and given verdicts


@dataclass(frozen=True, kw_only=True)
class ContestSet:
    """One training set and how it is trained on; ``score`` is a way of ``WAYS``, or all facts (keep 1)."""

    score: str
    keep: float
    method: Method
    budget: Budget

    def is_judged(self, which: Judged) -> bool:
        """Whether the facts that it loses are given verdicts, which cost as much as a small training."""
        named = which == "halves" or (which == "main" and self.score in (WHOLE, *MAIN))
        return named and self.keep in (HALF, 1.0) and self.budget == "steps" and self.method == "full"


def score_of(way: str) -> tuple[str, float]:
    """Return the score that a way of choosing goes by, and its floor."""
    return (EVEN[way], 1.0) if way in EVEN else (way, 0.0)


def way_of(score: str, floor: float) -> str:
    """Return the way that was compared and comes nearest to a score with a floor."""
    even = {score: way for way, score in EVEN.items()}
    return even.get(score, score) if floor >= HALF else score


def meaning(way: str) -> str:
    """Say what a way of choosing goes by."""
    score, floor = score_of(way)
    told = SCORES[score].meaning
    return f"{told}, every relation and answer type kept at its own share" if floor else told


def setups(
    *,
    full: bool,
    method: Method,
    scores: Sequence[str] = (),
    keeps: Sequence[float] = (),
    methods: Sequence[Method] = (),
    budgets: Sequence[Budget] = (),
) -> tuple[ContestSet, ...]:
    """List what is trained: all that was asked for, or the default, most telling first.

    As many epochs as all facts take at their number of steps is no other training for all facts.

    Args:
        full: list every score, share, method and budget by default.
        method: how the default is trained.
        scores: ways of choosing.
        keeps: shares of the facts that are kept.
        methods: ways of training.
        budgets: what sets are given alike, optimizer steps or epochs.
    """
    names = tuple(scores) or (WAYS if full else SMALL)
    main = tuple(name for name in names if name in MAIN)
    made: list[tuple[str, float, Budget]] = [(WHOLE, 1.0, "steps")]
    if full or keeps or budgets:
        made += [
            (name, keep, budget)
            for budget in budgets or (("steps", "epochs") if full else ("steps",))
            for keep in keeps or (KEEPS if full else (HALF,))
            for name in names
        ]
    else:
        made += [(name, HALF, "steps") for name in names]
        made += [(name, keep, "steps") for keep in reversed(LOW) for name in main]
        made += [(name, HALF, "epochs") for name in main]
    ways: tuple[Method, ...] = tuple(methods) or (("full", "lora") if full else (method,))
    listed = [
        ContestSet(score=s, keep=k, method=way, budget=b) for way in ways for s, k, b in dict.fromkeys(made)
    ]
    if ways == ("full",) and not (methods or keeps or budgets):
        listed += [ContestSet(score=WHOLE, keep=1.0, method="lora", budget="steps")]
        listed += [ContestSet(score=name, keep=HALF, method="lora", budget="steps") for name in main]
    return tuple(listed)
