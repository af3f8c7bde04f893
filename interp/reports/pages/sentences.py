"""Sentences made from a run's numbers: the answer, the captions, and numbers with their intervals.

The verdict follows one rule: an interval above zero supports the claim, one below zero says the opposite,
and any other is inconclusive. Nothing is rounded before it is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from interp.reports.read.run import BASE, MeasuredEstimate, Run

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
        )
    more = "more" if gap.direction > 0 else "less"
    return (
        f"The last prompt token of {first} pays {size} {more} of its attention to the subject "
        f"than that of {second} {stands}."
    )


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


def caption(run: Run, name: str) -> str:
    """Say what a figure shows, what to look for, and what its intervals and n are."""
    over = f"over {len(run.seeds)} training seeds" if run.unit == "seeds" else "bootstrapped over subjects"
    seed = f", seed {run.seeds[0]}" if run.unit == "seeds" else ""
    n = f" (n = {run.attention.n:,}{seed})" if run.attention else ""
    singles = "; grey rows are single seeds, with intervals over subjects" if run.unit == "seeds" else ""
    return {
        "accuracy_by_quartile": (
            "Accuracy on held-out facts, from the most to the least popular quarter. Look for arms that "
            "part on the right, where facts are rare. "
            f"Bars are 95% intervals, {over}; n stands below each quarter."
        ),
        "contrasts": (
            "Paired differences between arms. An interval that does not touch zero settles the sign. "
            f"Bars are 95% intervals, {over}{singles}."
        ),
        "recovery": (
            "Attention rows carry no answer: what they bring back was stored in the bottom arm all along. "
            "Look at the difference, since another subject's rows, asked in the same way, bring some facts "
            f"back too. Bars are 95% intervals, {over}."
        ),
        "attention_by_head": (
            "Attention mass that the last prompt token puts on the subject, by layer and head, mean over "
            f"test facts{n}, and the change against the base. Look for the few heads that carry the change. "
            "A dot, where cells are large enough, marks a head whose 95% interval does not overlap the "
            "base's."
        ),
        "hidden": (
            "What hiding a part of the prompt from the last token, in all layers, takes from the "
            "log-probability of the answer, mean over known facts. An arm that lost attention to the subject "
            f"has little left to lose when the subject is hidden. Bars are 95% intervals, {over}."
        ),
        "readout": (
            "Share of known facts whose gold answer, of all its relation's answers, is the one that the "
            "subject's value vectors favour most, summed over heads and read straight into the logits. "
            "Look from arm to arm: where stored stays and used falls, values still hold what attention no "
            "longer fetches. Direct paths only: "
            f"what later layers make of the values is not counted. Bars are 95% intervals, {over}."
        ),
        "stored_and_used": (
            "The gold answer's readout from the subject's value vectors, in logits over the mean of the "
            "relation's answers: unweighted (stored) and weighted by attention (used). Filled points are "
            "facts answered right, open ones facts answered wrong, of those that the base knows. Look for "
            "wrong answers to facts whose stored readout is as high as that of right ones. "
            "Bars are 95% intervals."
        ),
        "training_curves": (
            "Validation accuracy and training loss of every arm along its training, at the learning rate "
            f"that validation chose{f', mean of {len(run.seeds)} trainings' if run.unit == 'seeds' else ''}. "
            "Look for arms that still climb at the end, or fall after their best step."
        ),
        "trajectory": (
            "Accuracy and subject-attention mass of the checkpoints along the training, the base at step 0. "
            "Look for accuracy that falls, and whether attention leaves the subject by the same step. "
            f"Bars are 95% intervals, {over}."
        ),
        "fact_attention": (
            "One fact (n = 1, an illustration): what the last prompt token attends to, head by head, the "
            "arms of a head under each other and the subject's tokens framed. Heads stand in order of how "
            "much the subject's share changed. Look for colour that leaves the frame."
        ),
    }[name]


def alternative(run: Run, name: str) -> str:
    """Describe a figure for those who do not see it: its kind, and where its numbers stand."""
    kinds = {
        "accuracy_by_quartile": "Line chart of accuracy by popularity quartile for each arm.",
        "contrasts": "Forest plot of the paired contrasts; the same numbers stand in the table of contrasts.",
        "recovery": f"Bar chart. {recovery_sentence(run)}",
        "attention_by_head": "Heat maps of subject-attention mass by layer and head for each arm.",
        "hidden": "Point chart of the log-probability lost when a part of the prompt is hidden, by arm.",
        "readout": "Point chart of how often the gold answer is read first from the values, by arm.",
        "stored_and_used": "Point chart of the answer's readout from the values, by arm, right and wrong.",
        "training_curves": "Line charts of validation accuracy and of training loss by training step.",
        "trajectory": "Line charts of accuracy and of subject-attention mass by training step.",
        "fact_attention": "Heat map of one fact's attention, for the heads that changed most.",
    }
    return kinds[name]


def arm_descriptions(run: Run) -> dict[str, str]:
    """Say what each arm was fine-tuned on; names that users gave are left out."""
    trained = {
        "top": "popular half",
        "bottom": "unpopular half",
        "random": "random half",
        "whole": "all training facts",
    }
    return {BASE: "before fine-tuning", **(trained if run.halves else {})}
