"""The study of a run of attention_imbalance: its numbers as tables, what its words mean, and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interp.reports.pages import sentences as wording
from interp.reports.pages.study import NOT_MEASURED, Study, StudyFigure, StudyTable
from interp.reports.read.fact_attention import BASE
from interp.reports.read.files import expected_layout, read_optional
from interp.reports.read.run import MeasuredEstimate, Run

KINDS: Mapping[str, tuple[str, str]] = {  # title of a column of accuracy and attention, and unit
    "accuracy": ("All test facts", "%"),
    "accuracy_known": ("Known to the base", "%"),
    "subject_attention": ("Subject attention", "0 to 1"),
}
# Other ways to measure attention to the subject than the headline's.
ATTENTION_KINDS: Mapping[str, tuple[str, str]] = {
    "subject_attention": ("Without sinks", "mass"),
    "subject_attention_raw": ("With sinks", "mass"),
    "subject_attention_recall": ("In recall heads", "mass"),
    "value_weighted_share": ("Weighted by values", "share of norm"),
}
# What the relation's commonest answer cannot explain, how often an arm gives one answer only, and how often
# its answers would be judged otherwise.
SPECIFIC_KINDS: Mapping[str, tuple[str, str]] = {
    "accuracy_uncommon_known": ("Accuracy, known, answer not the commonest", "%"),
    "modal_share": ("Modal answer's share", "%"),
    "answer_information": ("Information about the answer", "bits"),
    "exact_disagrees": ("Judged otherwise if it had to be the answer alone", "%"),
    "contains_disagrees": ("Judged otherwise if it need only contain the answer", "%"),
}
RECALL_KINDS: Mapping[str, tuple[str, str]] = {
    "recall_extraction": ("Attention, from the subject", "logits"),
    "recall_attention_elsewhere": ("Attention, from elsewhere", "logits"),
    "recall_mlp": ("MLPs", "logits"),
    "recall_rest": ("Embedding and constant", "logits"),
    "recall_logit_difference": ("In all", "logits"),
}
ARMS = {
    "top": "popular half",
    "bottom": "unpopular half",
    "random": "random half",
    "whole": "all training facts",
}
MOST_HEADS = 10
KNOWN_AS_ASKED = (
    0.9  # share of known facts that a base answers right where it is asked in a way that suits it
)


def run_study(run: Run, figures: Sequence[StudyFigure] = ()) -> Study:
    """Say what a run found as a study; its claims are in claims.json.

    Raises:
        InputError: heads.json is malformed.
    """
    answer = wording.answer(run)
    return Study(
        title="Popular or unpopular facts" if run.halves else "Before and after fine-tuning",
        question=wording.question(run),
        finding=answer.sentences[0],
        outcome=answer.verdict,
        answer=answer.sentences[1:],
        tables=(
            headline_numbers(run),
            *attention_numbers(run),
            *specific_numbers(run),
            *recall_numbers(run),
            moved_heads(run),
        ),
        figures=tuple(figures),
        examples=tuple(_example(run)),
        definitions=tuple(_definitions(run)),
    )


def headline_numbers(run: Run) -> StudyTable:
    """Arrange accuracy and attention: a row an arm, and below the arms a row a paired difference."""
    found = [(arm, False, [run.number("arms", arm, kind) for kind in KINDS]) for arm in run.arms]
    found += [(pair, True, [run.number("contrasts", pair, k) for k in KINDS]) for pair in run.contrasts]
    counts = [{n.n for _, _, numbers in found if (n := numbers[i])} for i in range(len(KINDS))]
    units = [
        f"{unit}, n = {min(ns):,}" if len(ns) == 1 else unit
        for (_, unit), ns in zip(KINDS.values(), counts, strict=True)
    ]
    rows = [
        (
            wording.contrast_name(name) if paired else name,
            *(
                write_number(number, kind, signed=paired, n=len(ns) > 1, aside=_as_asked(name, kind, number))
                for number, kind, ns in zip(numbers, KINDS, counts, strict=True)
            ),
        )
        for name, paired, numbers in found
    ]
    over = "training seeds" if run.unit == "seeds" else "the subjects of the facts"
    return StudyTable(
        title="Accuracy and attention by arm, and paired differences between arms",
        columns=(
            "Arm",
            *(f"{title}, {unit}" for (title, _), unit in zip(KINDS.values(), units, strict=True)),
        ),
        rows=tuple(rows),
        note=f"95% intervals over {over}; n counts {run.unit}. Differences of accuracy are in points, in "
        f"bold where their interval excludes zero.{_specific_note(run)}",
        bold=tuple(
            (i, k + 1)
            for i, (_, paired, numbers) in enumerate(found)
            for k, number in enumerate(numbers)
            if paired and number and number.direction
        ),
    )


def _as_asked(arm: str, kind: str, number: MeasuredEstimate | None) -> str:
    """Say beside a base's accuracy on facts that it knows that it is low only because of how it was asked."""
    low = arm == BASE and kind == "accuracy_known" and number is not None and number.value < KNOWN_AS_ASKED
    return " as asked here" if low else ""


def _specific_note(run: Run) -> str:
    """Say beside the headline what the commonest answers cannot explain."""
    told = [
        f"{arm} {uncommon.value:.1%}, {modal.value:.1%}"
        for arm in run.arms
        if (uncommon := run.number("arms", arm, "accuracy_uncommon_known"))
        and (modal := run.number("arms", arm, "modal_share"))
    ]
    lead = " Accuracy on known facts whose answer is not the commonest, and share of the modal answer: "
    return f"{lead}{'; '.join(told)}." if told else ""


def attention_numbers(run: Run) -> tuple[StudyTable, ...]:
    """Give attention to the subject per arm in each way that it was measured; no table of one way alone."""
    if not any(run.number("arms", arm, "value_weighted_share") for arm in run.arms):
        return ()
    return _by_arm(
        run,
        ATTENTION_KINDS,
        title="Attention to the subject, measured in four ways",
        note="Mean over layers and heads. An attention sink (the first token) draws attention and writes "
        "next to nothing: without sinks, the rest is renormalised. Weighted by values: the norm of what "
        "heads write at the last token from the subject, of the norm of all they write (Kobayashi et al. "
        "2020). Recall heads are those that answers need.",
    )


def specific_numbers(run: Run) -> tuple[StudyTable, ...]:
    """Say per arm how specific its answers are to the subjects; no table where that was not measured."""
    return _by_arm(
        run,
        SPECIFIC_KINDS,
        title="How specific answers are to their subjects, and how much hangs on the judge",
        note="An answer that is its relation's commonest may be right and say nothing of its subject. Right "
        "is here what begins with an accepted answer, after what models put in front.",
    )


def recall_numbers(run: Run) -> tuple[StudyTable, ...]:
    """Say per arm where recall comes from; no table where that was not measured."""
    return _by_arm(
        run,
        RECALL_KINDS,
        title="Where the right answer comes from at the last token",
        note="Of known facts: the right answer's logit less the mean of its relation's answers, split by "
        "what wrote it. Attention from the subject is extraction (Geva et al. 2023).",
    )


def _by_arm(
    run: Run, kinds: Mapping[str, tuple[str, str]], *, title: str, note: str
) -> tuple[StudyTable, ...]:
    if not any(run.number("arms", arm, kind) for arm in run.arms for kind in kinds):
        return ()
    columns = ("Arm", *(f"{told}, {unit}" for told, unit in kinds.values()))
    rows = [(arm, *(write_number(run.number("arms", arm, kind), kind) for kind in kinds)) for arm in run.arms]
    return (StudyTable(title=title, columns=columns, rows=tuple(rows), note=note),)


def write_number(
    number: MeasuredEstimate | None,
    kind: str,
    *,
    signed: bool = False,
    n: bool = True,
    aside: str = "",
) -> str:
    """Write a number with its interval.

    Args:
        number: the estimate; None was not measured.
        kind: which number it is, and so how it is written.
        signed: whether it bears its sign.
        n: also write of how many it is, where a table does not say so elsewhere.
        aside: what is said of the value, behind it.
    """
    if number is None:
        return NOT_MEASURED
    value = wording.format_number(number.value, kind, signed=signed)
    bounds = wording.format_interval(number, kind, signed=signed)
    return f"{value}{aside} ({bounds}{f', n = {number.n:,}' if n else ''})"


def moved_heads(run: Run, most: int = MOST_HEADS) -> StudyTable:
    """List the heads that moved most, from heads.json; a note alone where the run has none.

    Raises:
        InputError: heads.json is malformed.
    """
    path = run.path / "heads.json"
    title, columns = "Which heads moved", ("Layer, head", "Change", "p, corrected")
    with expected_layout(path):
        heads = read_optional(path, [])[:most]
        rows = tuple(_head(head) for head in heads)
        passing = [i for i, head in enumerate(heads) if head["corrected"] < 0.05]
        note = f"{title} is left out: the run holds no heads.json."
        if heads:
            note = (
                f"Mean subject-attention mass under {heads[0]['before']} minus under {heads[0]['after']}, "
                "largest change first, with 95% intervals. p by random sign flips of subjects, corrected "
                f"over all heads (Benjamini-Hochberg); n = {heads[0]['n']:,} facts of one seed. "
                f"{len(passing)} of the {len(rows)} heads listed pass 5%."
            )
    return StudyTable(title=title, columns=columns, rows=rows, note=note, bold=tuple((i, 1) for i in passing))


def _head(head: Mapping[str, Any]) -> tuple[str, str, str]:
    change, low, high = (
        wording.format_number(head[key], "subject_attention", signed=True)
        for key in ("change", "low", "high")
    )
    return f"L{head['layer']} H{head['head']}", f"{change} ({low} to {high})", f"{head['corrected']:.2g}"


def _example(run: Run) -> list[StudyTable]:
    """Show what the first kept fact was asked as, and what each arm said."""
    if run.example is None:
        return []
    said = [(arm, text or "no answer") for arm, text in run.example.predictions.items()]
    rows = (("prompt", run.example.prompt), ("accepted", " · ".join(run.example.answers)), *said)
    return [StudyTable(title="One fact, before and after", columns=("Said by", "Text"), rows=rows)]


def _definitions(run: Run) -> list[tuple[str, str]]:
    words = wording.run_words()
    told = {
        "trained": "; ".join(f"{arm}: {text}" for arm, text in ARMS.items() if arm in run.arms),
        "known": words["known"]["halves" if run.halves else "own"],
        "interval": words["interval"][run.unit].format(seeds=len(run.seeds)),
    }
    idle = [] if run.halves else ["Arms"]
    idle += [] if run.number("recovery", "pattern_only") else ["Attention transplant"]
    return [(term, text.format(**told)) for term, text in words["definitions"].items() if term not in idle]
