"""Sentences made from a run's numbers: its question, its answer, and numbers with their intervals.

The verdict follows one rule: an interval above zero supports the claim, one below zero says the opposite,
and any other is inconclusive. Nothing is rounded before it is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from interp.reports.read.run import MeasuredEstimate, Run

MINUS = "\u2212"
Kind = Literal[
    "accuracy",
    "accuracy_known",
    "subject_attention",
    "accuracy_uncommon_known",
    "modal_share",
    "answer_information",
]
FRACTIONS = ("subject_attention", "answer_information")  # not written in percent


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to the run's question: a verdict in a word or two, and sentences with interval and n."""

    verdict: str
    sentences: tuple[str, ...]


def format_number(value: float, kind: Kind, *, signed: bool = False) -> str:
    """Write one value in its unit's digits: accuracy in percent or points, attention mass as a fraction."""
    text = f"{100 * abs(value):.1f}" if kind not in FRACTIONS else f"{abs(value):.3f}"
    sign = MINUS if value < 0 and float(text) else "+" if signed and float(text) else ""
    return sign + text


def format_interval(measured: MeasuredEstimate, kind: Kind, *, signed: bool = False) -> str:
    """Write an interval, or say that there is none."""
    if measured.low is None or measured.high is None:
        return "no interval"
    low, high = (format_number(bound, kind, signed=signed) for bound in (measured.low, measured.high))
    return f"{low} to {high}"


def format_evidence(run: Run, measured: MeasuredEstimate, kind: Kind, *, signed: bool = False) -> str:
    """Write in brackets what stands behind a number: its interval, over what, and n."""
    span = format_interval(measured, kind, signed=signed)
    if measured.low is None:
        return f"({span}, n = {measured.n} {run.unit if measured.n != 1 else run.unit[:-1]})"
    if run.unit == "seeds":
        return f"(95% interval {span}, over {measured.n} training seeds)"
    return f"(95% interval {span}, over the subjects of n = {measured.n:,} facts)"


def question(run: Run) -> str:
    """The question that the run asks."""
    if run.halves:
        return (
            "Does fine-tuning on popular facts keep a model more factual than fine-tuning on unpopular ones?"
        )
    return "What did fine-tuning do to the answers, and where did attention leave the subject?"


def answer(run: Run) -> Answer:
    """Answer the question from the numbers alone."""
    if run.halves:
        return _halves(run)
    sentences = tuple(s for name in run.contrasts for s in _own(run, name))
    if not sentences:
        return Answer(verdict="not measured", sentences=("The run compares no arms.",))
    gaps = [gap for name in run.contrasts if (gap := run.number("contrasts", name, "accuracy"))]
    directions = {gap.direction for gap in gaps}
    words = {frozenset({1}): "more accurate than the base", frozenset({-1}): "less accurate than the base"}
    default = "inconclusive" if directions <= {0} else "mixed"
    return Answer(verdict=words.get(frozenset(directions), default), sentences=sentences)


def _halves(run: Run) -> Answer:
    kind: Kind = "accuracy_known"
    gap = run.number("contrasts", "top_minus_bottom", kind)
    if gap is None:
        return Answer(
            verdict="not measured", sentences=("No test fact is known to the base, so nothing can be lost.",)
        )
    verdict = {1: "supported", -1: "the opposite", 0: "inconclusive"}[gap.direction]
    stands = format_evidence(run, gap, kind, signed=True)
    where = (
        "Of held-out facts that the base states correctly, the model fine-tuned on the popular half answers"
    )
    if gap.direction:
        size, more = format_number(abs(gap.value), kind), "more" if gap.direction > 0 else "fewer"
        first = (
            f"{where} {size} percentage points {more} than the one fine-tuned on the unpopular half {stands}."
        )
    else:
        size = format_number(gap.value, kind, signed=True)
        first = (
            f"{where} about as many as the one fine-tuned on the unpopular half, or the run is too small to "
            f"tell: the difference is {size} percentage points {stands}, which does not settle its sign."
        )
    rest = [s for s in (_attention(run, "top_minus_bottom"), recovery_sentence(run), _one_seed(run)) if s]
    return Answer(verdict=verdict, sentences=(first, *rest))


def _own(run: Run, name: str) -> list[str]:
    """Say what a user's checkpoint gained or lost; over all facts, since "known" would favour the base."""
    first, _, second = name.rpartition("_minus_")
    gap = run.number("contrasts", name, "accuracy")
    sentences = []
    if gap is not None:
        amount = format_number(gap.value, "accuracy", signed=True)
        certain = "" if gap.direction else ": that does not settle the sign"
        stands = format_evidence(run, gap, "accuracy", signed=True)
        sentences.append(
            f"{first} against {second}: {amount} percentage points of accuracy {stands}{certain}."
        )
    if attention := _attention(run, name):
        sentences.append(attention)
    return sentences


def _attention(run: Run, name: str) -> str:
    gap = run.number("contrasts", name, "subject_attention")
    if gap is None:
        return ""
    first, _, second = name.rpartition("_minus_")
    stands = format_evidence(run, gap, "subject_attention", signed=True)
    size = format_number(abs(gap.value), "subject_attention")
    if not gap.direction:
        size = format_number(gap.value, "subject_attention", signed=True)
        return (
            f"Attention to the subject does not differ clearly between {first} and {second}: {size} {stands}."
            f"{_recall_heads(run, name)}"
        )
    more = "more" if gap.direction > 0 else "less"
    return (
        f"The last prompt token of {first} pays {size} {more} of its attention to the subject "
        f"than that of {second} {stands}.{_recall_heads(run, name)}"
    )


def _recall_heads(run: Run, name: str) -> str:
    """Say what the mean over all heads hides: the difference in the heads that recall needs."""
    gap = run.number("contrasts", name, "subject_attention_recall")
    if gap is None or gap.value is None:
        return ""
    size = format_number(gap.value, "subject_attention", signed=True)
    stands = format_evidence(run, gap, "subject_attention", signed=True)
    return f" In the heads that recall needs it is {size} {stands}."


def recovery_sentence(run: Run) -> str:
    """Say what the transplant brought back, always beside its placebo; empty where it was not measured."""
    right, placebo = (run.number("recovery", name) for name in ("pattern_only", "placebo"))
    if right is None or placebo is None:
        return ""
    text = (
        f"Of the facts that top answers and bottom does not, top's attention rows alone bring back "
        f"{format_number(right.value, 'accuracy')}% {format_evidence(run, right, 'accuracy')}; the rows of "
        f"another subject bring back {format_number(placebo.value, 'accuracy')}% "
        f"({format_interval(placebo, 'accuracy')})"
    )
    gap = run.number("recovery", "difference")
    if gap is None:
        return text + "."
    size, span = (
        format_number(gap.value, "accuracy", signed=True),
        format_interval(gap, "accuracy", signed=True),
    )
    return f"{text}, a difference of {size} points ({span})."


def _one_seed(run: Run) -> str:
    if len(run.seeds) != 1:
        return ""
    return (
        "One training seed was run: the interval says how far subjects differ, not how far training runs do."
    )


def contrast_name(name: str) -> str:
    """Write the name of a contrast, ``top_minus_bottom``, as a difference."""
    return f" {MINUS} ".join(name.rsplit("_minus_", 1))
