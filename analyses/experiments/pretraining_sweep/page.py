"""Page of pretraining_sweep: claims, tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.reports.figures.curves import Curve, curves
from interp.reports.pages.study import (
    Study,
    StudyFigure,
    StudyTable,
    claim_sentence,
    decide_claim,
    format_entry,
)

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Claim
from analyses.experiments.pretraining_sweep.options import EXPONENT, LENGTH


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with a table and the curves."""

    made = claims(results)
    titles = {LENGTH: "Pretraining length", EXPONENT: "Zipf exponent"}
    labels = {"gap_known": "facts that the base states", "gap_all": "all held-out facts"}

    def drawn(axis: str) -> list[Curve]:
        part = results[axis]
        return [
            Curve(label=label, x=[float(x) for x in part], y=[point[key] for point in part.values()])
            for key, label in labels.items()
        ]

    figure = curves(
        {titles[axis]: drawn(axis) for axis in titles},
        x="times the world's own, or exponent",
        y="popular less unpopular half (points)",
        percent=True,
        zero=True,
    )
    rows = [
        (
            f"{titles[axis]} {x}",
            format_entry(point["stated"], unit="%"),
            format_entry(point["top"], unit="%"),
            format_entry(point["bottom"], unit="%"),
            format_entry(point["gap_known"], unit="%", signed=True),
            format_entry(point["gap_attention"], digits=3, signed=True),
        )
        for axis in titles
        for x, point in results[axis].items()
    ]
    columns = ("Setting", "Base states", "Popular half", "Unpopular half", "Gap", "Gap in attention")
    note = "Accuracy on held-out facts that the base states, and of attention to the subject on all."
    table = StudyTable(title="The gap at every setting, %", columns=columns, rows=tuple(rows), note=note)
    return Study(
        title="Pretraining length and long-tailedness",
        question="Does the gap between arms close where facts are well stored, and grow with the long tail?",
        finding=claim_sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(table,),
        figures=(StudyFigure(name="gap", figure=figure, caption=_CAPTION),),
        notes=(_KNOWN,),
    )


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the theory says."""
    made = []
    for key, what in (("gap_known", "facts that the base states"), ("gap_all", "all held-out facts")):
        changes = results["contrasts"][key]
        made += [
            decide_claim(
                f"on {what}, the gap between halves shrinks with longer pretraining",
                "theory (break condition)",
                changes["shortest_minus_longest"],
                unit="points",
            ),
            decide_claim(
                f"on {what}, the gap between halves grows with the Zipf exponent",
                "theory (long tail)",
                changes["steepest_minus_flattest"],
                unit="points",
            ),
            decide_claim(
                f"on {what}, the gap falls as the base states more facts (points per 100 points stated)",
                "theory (break condition)",
                results["fall"][key],
                unit="points",
            ),
        ]
    return tuple(made)


_CAPTION = (
    "How much better the popular half does than the unpopular one on held-out facts, along pretraining "
    "length (in units of the world's own) and the exponent of the subjects' popularity. 95% over trainings."
)


_KNOWN = (
    "Which facts the base states changes with the setting, so each setting is measured on other facts of the "
    "same held-out subjects; the numbers on all held-out facts do not depend on that."
)
