"""Page of the experiment on a domain of rare facts: tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.common.options import SHUFFLED
from interp.reports.figures.curves import Curve, curves
from interp.reports.pages.study import Study, StudyFigure, StudyTable, claim_sentence, format_entry

if TYPE_CHECKING:
    import pandas as pd
from analyses.experiments.long_tail_domain.claims import claims
from analyses.experiments.long_tail_domain.numbers import NAMES, PAIRS, QUARTILES


def page(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and the quartiles as curves."""
    made = claims(results)
    return Study(
        title="A domain of rare facts",
        question='Does "train on the popular half" still hold in a domain whose facts are nearly all rare?',
        finding=claim_sentence(made) if made else "Nothing is decided: arms to compare are missing.",
        outcome=made[0].outcome if made else "inconclusive",
        claims=made,
        tables=(_arms_table(frame, results), _contrasts(results), _facts_table(results)),
        figures=(_quartiles(results),),
        notes=_NOTES,
    )


def _arms_table(frame: pd.DataFrame, results: dict[str, Any]) -> StudyTable:
    # The base has no set; without any arm there is no such column.
    sized = frame.dropna(subset=["size"]) if "size" in frame else frame.assign(size=0).head(0)
    sizes = {str(arm): int(some["size"].iloc[0]) for arm, some in sized.groupby("arm")}
    rows = tuple(
        (
            name,
            sizes.get(arm, ""),
            format_entry(results["arms"][arm]["accuracy_known"], unit="%"),
            format_entry(results["arms"][arm]["accuracy"], unit="%"),
            format_entry(results["arms"][arm]["subject_attention"], digits=3),
            format_entry(results["arms"][arm]["general_known"], unit="%"),
        )
        for arm, name in NAMES.items()
        if arm in results["arms"]
    )
    return StudyTable(
        title="Accuracy on held-out facts, %",
        columns=("Fine-tuned on", "Facts", "Domain, known", "Domain, all", "Attention", "General, known"),
        rows=rows,
        note="Known: the base states the fact in every form. Attention to the subject is that on the "
        "domain's questions. Sizes are the first seed's.",
    )


def _contrasts(results: dict[str, Any]) -> StudyTable:
    keys = ("accuracy_known", "accuracy", "subject_attention", "general_known")
    rows = tuple(
        (
            f"{NAMES[first]} − {NAMES[second]}",
            *(
                format_entry(
                    part[key], signed=True, **({"digits": 3} if key == "subject_attention" else {"unit": "%"})
                )
                for key in keys
            ),
        )
        for first, second in PAIRS
        if (part := results["contrasts"].get(f"{first}_minus_{second}"))
    )
    columns = ("Difference", "Domain, known", "Domain, all", "Attention", "General, known")
    return StudyTable(title="What arms differ by, points", columns=columns, rows=rows)


def _facts_table(results: dict[str, Any]) -> StudyTable:
    rows = tuple(
        (name, format_entry(part["sightings"]), format_entry(part["stated"], unit="%"))
        for name, part in results["facts"].items()
    )
    return StudyTable(
        title="Held-out facts: how often pretraining meets one (mean), and how many the base states",
        columns=("Facts", "Expected sightings", "Stated by the base"),
        rows=rows,
    )


def _quartiles(results: dict[str, Any]) -> StudyFigure:

    shown = [arm for arm in NAMES if arm in results["arms"] and not arm.startswith(SHUFFLED)]
    panels = {"Known to the base": "accuracy_known_by_quartile", "All": "accuracy_by_quartile"}
    figure = curves(
        {
            title: [
                Curve(
                    label=NAMES[arm],
                    x=[str(q) for q in QUARTILES],
                    y=[results["arms"][arm][key][str(q)] for q in QUARTILES],
                )
                for arm in shown
            ]
            for title, key in panels.items()
        },
        x="quartile of the domain's popularity (1: most popular)",
        y="accuracy on domain facts (%)",
        percent=True,
    )
    return StudyFigure(name="quartiles", figure=figure, caption=_CAPTION)


_CAPTION = (
    "Accuracy on held-out facts of the domain by quartile of popularity within it, after fine-tuning on "
    "parts of the domain or on general facts (95% over trainings)."
)


_NOTES = (
    "General facts have other relations, so training on them teaches other question forms than the domain's: "
    "what they do for the domain is transfer across forms as well as across popularity.",
    "The whole domain is a set twice as large, trained for as many steps; all other sets are of one size.",
    "Validation facts of the domain choose the checkpoint, also for sets from outside it.",
    "In an embedded world the domain's median fact is met 20 times in pretraining unless --sightings says "
    "otherwise; that number was chosen, before any arm was trained, for the base to state a good part "
    "of the domain: 44% of the held-out facts of seed 0.",
)
