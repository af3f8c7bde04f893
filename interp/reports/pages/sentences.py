"""Sentences made from a run's numbers: its question, its answer, and numbers with their intervals.

The verdict follows one rule: an interval above zero supports the claim, one below zero says the opposite,
and any other is inconclusive. Nothing is rounded before it is compared. The words stand in
``templates/words.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from interp.reports.pages.study import format_value
from interp.reports.read.run import MeasuredEstimate, Run

MINUS = "\u2212"
SHARES = ("accuracy", "modal", "disagrees")  # what is written in percent


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to the run's question: a verdict in a word or two, and sentences with interval and n."""

    verdict: str
    sentences: tuple[str, ...]


@cache
def run_words() -> dict[str, Any]:
    """Read the words of the report by kind and name; what stands in braces is the run's."""
    text = files("interp").joinpath("reports/templates/words.yaml").read_text(encoding="utf-8")
    words: dict[str, Any] = yaml.safe_load(text)
    return words


def format_number(value: float, kind: str, *, signed: bool = False) -> str:
    """Write one value in its unit's digits: accuracy in percent or points, others as they are."""
    in_percent = any(word in kind for word in SHARES)
    return format_value(value, digits=1 if in_percent else 3, percent=in_percent, signed=signed)


def format_interval(measured: MeasuredEstimate, kind: str, *, signed: bool = False) -> str:
    """Write an interval, or say that there is none."""
    if measured.low is None or measured.high is None:
        return "no interval"
    low, high = (format_number(bound, kind, signed=signed) for bound in (measured.low, measured.high))
    return f"{low} to {high}"


def format_evidence(run: Run, measured: MeasuredEstimate, kind: str, *, signed: bool = False) -> str:
    """Write in brackets what stands behind a number: its interval, over what, and n.

    Args:
        run: what the number is of.
        measured: the estimate.
        kind: which number it is, and so how it is written.
        signed: whether it bears its sign.
    """
    span = format_interval(measured, kind, signed=signed)
    if measured.low is None:
        return f"({span}, n = {measured.n} {run.unit if measured.n != 1 else run.unit[:-1]})"
    if run.unit == "seeds":
        return f"(95% interval {span}, over {measured.n} training seeds)"
    facts = "fact" if measured.n == 1 else "facts"
    return f"(95% interval {span}, over the subjects of n = {measured.n:,} {facts})"


def question(run: Run) -> str:
    """The question that the run asks."""
    return str(run_words()["questions"]["halves" if run.halves else "own"])


def answer(run: Run) -> Answer:
    """Answer the question from the numbers alone."""
    held_of = scope(run.manifest.get("config") or ({} if run.halves else {"finetuned": True}))
    if run.halves:
        gap = run.number("contrasts", "top_minus_bottom", "accuracy_known")
        if gap is None:
            return Answer(verdict="not measured", sentences=(_said("nothing_known"),))
        verdict = str(run_words()["verdicts"][gap.direction]).format(
            scope=scope(run.manifest.get("config") or {})
        )
        first = _contrast_sentence(run, "halves", "top_minus_bottom", "accuracy_known")
        attention = _contrast_sentence(run, "attention", "top_minus_bottom", "subject_attention")
        one_seed = _said("one_seed") if len(run.seeds) == 1 else ""
        found = first, attention, recovery_sentence(run), one_seed
        return Answer(verdict=verdict, sentences=tuple(filter(None, found)))
    # Over all facts, since "known" would favour the base.
    kinds: dict[str, str] = {"own": "accuracy", "attention": "subject_attention"}
    said = [_contrast_sentence(run, key, name, kinds[key]) for name in run.contrasts for key in kinds]
    sentences = tuple(filter(None, said)) or (_said("no_arms"),)
    gaps = [gap for name in run.contrasts if (gap := run.number("contrasts", name, "accuracy"))]
    directions = frozenset(gap.direction for gap in gaps)
    verdict = f"{_against_the_base(directions)}, {held_of}" if any(said) else "not measured"
    return Answer(verdict=verdict, sentences=sentences)


def _against_the_base(directions: Set[int]) -> str:
    """Word the signs of the arms' differences from the base, 0 where an interval does not settle one."""
    sides = [word for sign, word in ((1, "more"), (-1, "less")) if sign in directions]
    if not sides:
        return "cannot tell"
    if len(directions) == 1:
        return f"{sides[0]} accurate than the base"
    unsettled = ", of the others it cannot tell" if 0 in directions else ""
    return f"some {', some '.join(sides)} accurate than the base{unsettled}"


def scope(config: Mapping[str, Any]) -> str:
    """Say of what an answer holds: of the model that a run was given, or of a world with a base made here."""
    given = any(config.get(name) for name in ("base", "models", "preset", "checkpoints", "finetuned"))
    return str(run_words()["scopes"]["given" if given else "made"])


def recovery_sentence(run: Run) -> str:
    """Say what the transplant brought back, always beside its placebo; empty where it was not measured."""
    right, placebo, gap = (run.number("recovery", key) for key in ("pattern_only", "placebo", "difference"))
    if right is None or placebo is None:
        return ""
    apart = ""
    if gap is not None:
        size, span = (write(gap, "accuracy", signed=True) for write in (_value, format_interval))
        apart = f", a difference of {size} points ({span})"
    return _said(
        "recovery",
        right=_value(right, "accuracy"),
        stands=format_evidence(run, right, "accuracy"),
        placebo=_value(placebo, "accuracy"),
        span=format_interval(placebo, "accuracy"),
        apart=apart,
    )


def contrast_name(name: str) -> str:
    """Write the name of a contrast, ``top_minus_bottom``, as a difference."""
    return f" {MINUS} ".join(name.rsplit("_minus_", 1))


def _contrast_sentence(run: Run, key: str, name: str, kind: str) -> str:
    """Word a contrast, in other words where its sign is not settled; empty where it was not measured."""
    gap = run.number("contrasts", name, kind)
    if gap is None:
        return ""
    first, _, second = name.rpartition("_minus_")
    worded = _said(
        key if gap.direction else f"{key}_unsettled",
        first=first,
        second=second,
        size=format_number(abs(gap.value), kind),
        amount=_value(gap, kind, signed=True),
        more="more" if gap.direction > 0 else "less" if kind == "subject_attention" else "fewer",
        stands=format_evidence(run, gap, kind, signed=True),
    )
    return worded + (_recall_heads(run, name) if kind == "subject_attention" else "")


def _recall_heads(run: Run, name: str) -> str:
    """Say what the mean over all heads hides: the difference in the heads that recall needs."""
    gap = run.number("contrasts", name, "subject_attention_recall")
    if gap is None:
        return ""
    stands = format_evidence(run, gap, "subject_attention", signed=True)
    return " " + _said("recall_heads", amount=_value(gap, "subject_attention", signed=True), stands=stands)


def _value(measured: MeasuredEstimate, kind: str, *, signed: bool = False) -> str:
    return format_number(measured.value, kind, signed=signed)


def _said(key: str, **told: str) -> str:
    return str(run_words()["sentences"][key].format(**told))
