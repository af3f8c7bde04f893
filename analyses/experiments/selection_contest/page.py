"""The contest's page: what decides, tables of every set, and accuracy by the share that is kept."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analyses.experiments.selection_contest.claims import MARGIN, claims, failures, number_of, sets_of
from analyses.experiments.selection_contest.numbers import PARTS
from analyses.experiments.selection_contest.setups import (
    HALF,
    MAIN,
    POPULAR,
    RANDOM,
    WHOLE,
    WITHOUT_LABELS,
    meaning,
)
from interp.reports.figures.curves import Curve, curves, forests
from interp.reports.pages.results_tables import curve, decided_study, results_table, write_number
from interp.reports.pages.study import Study, StudyFigure, StudyTable
from interp.reports.read.results import Results

COLUMNS = {
    "all": "all",
    "known": "known",
    "q1": "Q1 (popular)",
    "q2": "Q2",
    "q3": "Q3",
    "q4": "Q4 (rare)",
}
AHEAD = {POPULAR: "popular", WHOLE: "all facts"}
CAPTION = (
    "Held-out accuracy by the share of training facts that is kept, after as many steps; all are at 100%."
)
HALVES = (
    "Points of held-out accuracy that each half is ahead of others, after as many steps, with 95% intervals, "
    "the best on top. Lines: where a half counts as no worse, and for a random half where it is no better."
)


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Make the page of a contest's numbers."""
    methods = list(results.below("sets"))
    method = methods[0]
    worse = StudyTable(
        title=f"Where a label-free score is worse by more than {100 * MARGIN:g} points",
        columns=("Method", "As many", "Kept", "Score", "Than", "Held-out facts", "Points"),
        rows=tuple(failures(results)),
        note="Comparisons whose whole interval is below the margin; one in forty would be so by chance.",
    )
    return decided_study(
        title="Choosing training facts",
        question="Which score of the base's own chooses training facts best, and is a half of them better "
        "than all?",
        claims=claims(results, method),
        tables=(*(table for way in methods for table in _tables(results, way)), worse),
        figures=(
            StudyFigure(name="halves", figure=_halves(results, method), caption=HALVES),
            StudyFigure(name="keeps", figure=_curves(results, method), caption=CAPTION),
        ),
        notes=(
            f"The margin of {100 * MARGIN:g} points was set before the first run.",
            "The score that is compared as the best one was chosen, for each seed, on the other seeds.",
            "Quartiles are of the held-out facts' popularity; known facts are those that the base states in "
            "every statement form.",
            *(f"{name}: {meaning(name)}." for name in _names(results, method, "steps", HALF)),
        ),
    )


def _tables(results: Results, method: str) -> list[StudyTable]:
    made = []
    for budget, scores in results.below(f"sets/{method}").items():
        keeps = {float(keep) for some in scores.below().values() for keep in some.below()} - {1.0}
        for keep in sorted(sorted(keeps, reverse=True), key=lambda keep: keep != HALF):
            made.append(_table(results, method, budget, keep))
    judged = _verdicts(results, method)
    return [*made, *([judged] if judged.rows else [])]


def _table(results: Results, method: str, budget: str, keep: float) -> StudyTable:
    whole = results.part(f"sets/{method}/steps/{WHOLE}/1")
    rows = []
    if whole.numbers:
        rows.append((WHOLE, *(write_number(whole.at(p), "%") for p in PARTS), "", "", ""))
    for name in _names(results, method, budget, keep):
        place = f"{method}/{budget}/{name}/{keep:g}"
        own, ahead = results.part(f"sets/{place}"), results.part(f"ahead/{place}")
        rows.append(
            (
                name,
                *(write_number(own.at(p), "%") for p in PARTS),
                *(write_number(ahead.at(f"{rival}/all"), "points?") for rival in AHEAD),  # none over itself
                write_number(own.at("popular"), "%"),
            )
        )
    how = {"full": "full fine-tuning", "lora": "LoRA"}[method]
    gains = (f"less {name}, points" for name in AHEAD.values())
    return StudyTable(
        title=f"Held-out accuracy where {100 * keep:g}% of the facts are kept, %, {how}, as many {budget}",
        columns=("Kept by", *COLUMNS.values(), *gains, "in the popular half"),
        rows=tuple(rows),
    )


def _verdicts(results: Results, method: str) -> StudyTable:
    own = {
        name: keeps.part("1" if name == WHOLE else f"{HALF:g}")
        for name, keeps in results.below(f"sets/{method}/steps").items()
    }
    return results_table(
        "Of the held-out facts that the base knew: lost, and of these still stored rather than erased, %",
        "Kept by",
        {name: part for name, part in own.items() if "lost" in part},
        {"lost": ("lost", "%"), "still stored": ("stored", "%")},
        note="Half of the facts, or all; see docs/verdict.md for how a verdict is reached.",
    )


def _names(results: Results, method: str, budget: str, keep: float) -> list[str]:
    """Return the scores that were compared at a share, the most accurate label-free ones first."""
    sets, place = results.below(f"sets/{method}/{budget}"), f"{keep:g}/all"
    there = {name: keeps.at(place)["value"] for name, keeps in sets.items() if place in keeps}
    return sorted(there, key=lambda name: (name not in WITHOUT_LABELS, -(there[name] or 0), name))


def _halves(results: Results, method: str) -> Figure:
    """Draw what each half is ahead of all facts, of the popular and of a random half by."""
    halves, sets = sets_of(results, method, "steps"), results.below(f"sets/{method}/steps")
    order = sorted(halves, key=lambda name: -sets[name].at(f"{HALF:g}/all")["value"])
    kinds = {
        "without labels": [name for name in order if name in WITHOUT_LABELS],
        POPULAR: [name for name in order if name == POPULAR],
        "placebo": [name for name in order if name not in (*WITHOUT_LABELS, POPULAR)],
    }
    rivals = {WHOLE: "less all facts\n(points)", POPULAR: "less popular half\n(points)"}
    rivals[RANDOM] = "less random half\n(points)"
    panels = {
        title: [
            Curve(label=kind, x=own, y=[number_of(halves, name, rival, "all") for name in own])
            for kind, own in kinds.items()
            if own
        ]
        for rival, title in rivals.items()
    }
    marks = dict.fromkeys(rivals.values(), (-MARGIN, "no worse")) | {rivals[RANDOM]: (0.0, "level")}
    return forests(panels, marks=marks, order=order, percent=True)


def _curves(results: Results, method: str) -> Figure:
    sets = results.below(f"sets/{method}/steps")
    whole = {100.0: sets[WHOLE].part("1")} if WHOLE in sets else {}
    kept = {
        name: {100 * float(keep): part for keep, part in sorted(sets[name].below().items(), key=_share)}
        for name in MAIN
        if name in sets
    }
    panels = {
        title: [curve(name, {**parts, **whole}, part) for name, parts in kept.items()]
        for part, title in (("all", "All held-out facts"), ("known", "Known to the base"))
    }
    return curves(panels, x="training facts kept (%)", y="held-out accuracy (%)", percent=True)


def _share(item: tuple[str, Results]) -> float:
    return float(item[0])
