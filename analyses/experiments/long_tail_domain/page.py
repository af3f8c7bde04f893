"""Page of the experiment on a domain of rare facts: claims worded beforehand, tables and figures."""

from __future__ import annotations

import pandas as pd

from analyses.common.options import SHUFFLED
from analyses.experiments.long_tail_domain.numbers import NAMES, PAIRS, QUARTILES
from interp.reports.figures.curves import curves
from interp.reports.pages.results_tables import Column, curve, decide_each, decided_study, results_table
from interp.reports.pages.study import Claim, Study, StudyFigure
from interp.reports.read.results import Results

PAPER, OPEN = "paper, claim 1; open: long tail", "open: long tail"


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with tables and the quartiles as curves."""
    arms, contrasts = results.below("arms"), results.below("contrasts")
    # The base has no set; without any arm there is no such column.
    sized = frame.dropna(subset=["size"]) if "size" in frame else frame.assign(size=0).head(0)
    sizes = {str(arm): int(some["size"].iloc[0]) for arm, some in sized.groupby("arm")}
    pairs = {
        f"{NAMES[first]} − {NAMES[second]}": contrasts[pair]
        for first, second in PAIRS
        if (pair := f"{first}_minus_{second}") in contrasts
    }
    facts: dict[str, Column] = {
        "Expected sightings": ("sightings", "1"),
        "Stated by the base": ("stated", "%"),
    }
    tables = (
        results_table(
            "Accuracy on held-out facts, %",
            ("Fine-tuned on", "Facts"),
            {(name, sizes.get(arm, "")): arms[arm] for arm, name in NAMES.items() if arm in arms},
            _columns(""),
            note="Known: the base states the fact in every form. Attention to the subject is that on the "
            "domain's questions. Sizes are the first seed's.",
        ),
        results_table("What arms differ by, points", "Difference", pairs, _columns("+")),
        results_table(
            "Held-out facts: how often pretraining meets one (mean), and how many the base states",
            "Facts",
            results.below("facts"),
            facts,
        ),
    )
    return decided_study(
        title="A domain of rare facts",
        question='Does "train on the popular half" still hold in a domain whose facts are nearly all rare?',
        claims=claims(results),
        tables=tables,
        figures=(_quartiles(results),),
        notes=_NOTES,
    )


def _columns(sign: str) -> dict[str, Column]:
    return {
        "Domain, known": ("accuracy_known", f"{sign}%"),
        "Domain, all": ("accuracy", f"{sign}%"),
        "Attention": ("subject_attention", f"{sign}3"),
        "General, known": ("general_known", f"{sign}%"),
    }


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims, in a domain of which it does not speak."""
    wordings = (
        (
            "within the long-tail domain the popular half beats the unpopular half",
            PAPER,
            "top_minus_bottom/accuracy_known",
        ),
        (
            "over all facts of the long-tail domain the popular half beats the unpopular half",
            PAPER,
            "top_minus_bottom/accuracy",
        ),
        (
            "within the long-tail domain the popular half beats a random half",
            PAPER,
            "top_minus_random/accuracy_known",
        ),
        (
            "popular facts of the general domain serve the domain better than the domain's own popular half",
            OPEN,
            "general_top_minus_top/accuracy_known",
        ),
        (
            "an even mix with popular general facts serves the domain better than its own popular half alone",
            OPEN,
            "mixed_minus_top/accuracy_known",
        ),
        (
            "attention to the subject in the domain is higher after the popular half than after the "
            "unpopular one",
            "paper, claim 3; open: long tail",
            "top_minus_bottom/subject_attention",
        ),
        (
            "fine-tuning on the domain's popular half loses general facts",
            "open: cost",
            "base_minus_top/general_known",
        ),
    )
    contrasts = results.part("contrasts")
    return decide_each(
        contrasts,
        [
            (text, source, place, "3" if place.endswith("attention") else "points")
            for text, source, place in wordings
            if place in contrasts
        ],
    )


def _quartiles(results: Results) -> StudyFigure:
    shown = {NAMES[arm]: part for arm, part in results.below("arms").items() if not arm.startswith(SHUFFLED)}
    panels = {"Known to the base": "accuracy_known_by_quartile", "All": "accuracy_by_quartile"}
    figure = curves(
        {
            title: [
                curve(name, {str(q): shown[name].part(f"{key}/{q}") for q in QUARTILES}, "")
                for name in NAMES.values()
                if name in shown
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
