"""Page of pretraining_sweep: claims, tables and figures."""

from __future__ import annotations

import pandas as pd

from analyses.experiments.pretraining_sweep.options import EXPONENT, LENGTH
from interp.reports.figures.curves import curves
from interp.reports.pages.results_tables import curve, decide_each, decided_study, results_table
from interp.reports.pages.study import Claim, Study, StudyFigure
from interp.reports.read.results import Results

TITLES = {LENGTH: "Pretraining length", EXPONENT: "Zipf exponent"}
GAPS = {"gap_known": "facts that the base states", "gap_all": "all held-out facts"}


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with a table and the curves."""
    points = {
        axis: {float(x): point for x, point in results.below(axis).items()} for axis in (LENGTH, EXPONENT)
    }
    figure = curves(
        {
            TITLES[axis]: [curve(label, part, key) for key, label in GAPS.items()]
            for axis, part in points.items()
        },
        x="times the world's own, or exponent",
        y="popular less unpopular half (points)",
        percent=True,
        zero=True,
    )
    table = results_table(
        "The gap at every setting, %",
        "Setting",
        {f"{title} {x}": point for axis, title in TITLES.items() for x, point in results.below(axis).items()},
        {
            "Base states": ("stated", "%"),
            "Popular half": ("top", "%"),
            "Unpopular half": ("bottom", "%"),
            "Gap": ("gap_known", "+%"),
            "Gap in attention": ("gap_attention", "+3"),
        },
        note="Accuracy on held-out facts that the base states, and of attention to the subject on all.",
    )
    return decided_study(
        title="Pretraining length and long-tailedness",
        question="Does the gap between arms close where facts are well stored, and grow with the long tail?",
        claims=claims(results),
        tables=(table,),
        figures=(StudyFigure(name="gap", figure=figure, caption=_CAPTION),),
        notes=(_KNOWN,),
    )


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide what the theory says."""
    wordings = (
        ("gap between halves shrinks with longer pretraining", "break condition", "shortest_minus_longest"),
        ("gap between halves grows with the Zipf exponent", "long tail", "steepest_minus_flattest"),
        ("gap falls as the base states more facts (points per 100 points stated)", "break condition", ""),
    )
    return decide_each(
        results,
        [
            (
                f"on {what}, the {text}",
                f"theory ({source})",
                f"contrasts/{key}/{change}" if change else f"fall/{key}",
                "points",
            )
            for key, what in GAPS.items()
            for text, source, change in wordings
        ],
    )


_CAPTION = (
    "How much better the popular half does than the unpopular one on held-out facts, along pretraining "
    "length (in units of the world's own) and the exponent of the subjects' popularity. 95% over trainings."
)
_KNOWN = (
    "Which facts the base states changes with the setting, so each setting is measured on other facts of the "
    "same held-out subjects; the numbers on all held-out facts do not depend on that."
)
