"""The contest's page: what decides, tables of every set, and accuracy by the share that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.experiments.selection_contest.claims import (
    MARGIN,
    NONE,
    claims,
    failures,
    number_of,
    sets_of,
)
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
from interp.reports.pages.study import Study, StudyFigure, StudyTable, claim_sentence, format_entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def page(results: dict[str, Any]) -> Study:
    """Make the page of a contest's numbers."""
    method = next(iter(results["sets"]))
    made = claims(results, method)
    tables = [table for way in results["sets"] for table in _tables(results, way)]
    return Study(
        title="Choosing training facts",
        question="Which score of the base's own chooses training facts best, and is a half of them better "
        "than all?",
        finding=claim_sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(*tables, _failures(results)),
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


def _tables(results: dict[str, Any], method: str) -> list[StudyTable]:
    made = []
    for budget in results["sets"][method]:
        scores = results["sets"][method][budget]
        keeps = sorted({float(keep) for some in scores.values() for keep in some} - {1.0}, reverse=True)
        for keep in sorted(keeps, key=lambda keep: keep != HALF):
            made.append(_table(results, method, budget, keep))
    judged = _verdicts(results, method)
    return [*made, *([judged] if judged.rows else [])]


def _table(results: dict[str, Any], method: str, budget: str, keep: float) -> StudyTable:
    whole = results["sets"][method].get("steps", {}).get(WHOLE, {}).get("1")
    rows = [] if whole is None else [(WHOLE, *(format_entry(whole[p], unit="%") for p in PARTS), "", "", "")]
    for name in _names(results, method, budget, keep):
        own = results["sets"][method][budget][name][f"{keep:g}"]
        ahead = results["ahead"][method][budget][name][f"{keep:g}"]
        gains = (ahead.get(rival, {}).get("all", NONE) for rival in AHEAD)
        written = (
            "" if g is NONE else format_entry(g, unit="%", signed=True).replace("%", "")  # its own rival
            for g in gains
        )
        rows.append(
            (
                name,
                *(format_entry(own[p], unit="%") for p in PARTS),
                *written,
                format_entry(own["popular"], unit="%"),
            )
        )
    how = {"full": "full fine-tuning", "lora": "LoRA"}[method]
    return StudyTable(
        title=f"Held-out accuracy where {100 * keep:g}% of the facts are kept, %, {how}, as many {budget}",
        columns=(
            "Kept by",
            *COLUMNS.values(),
            *(f"less {name}, points" for name in AHEAD.values()),
            "in the popular half",
        ),
        rows=tuple(rows),
    )


def _verdicts(results: dict[str, Any], method: str) -> StudyTable:
    sets = results["sets"][method].get("steps", {})
    own = {name: keeps.get("1" if name == WHOLE else f"{HALF:g}", {}) for name, keeps in sets.items()}
    return StudyTable(
        title="Of the held-out facts that the base knew: lost, and of these suppressed rather than erased, %",
        columns=("Kept by", "lost", "suppressed"),
        rows=tuple(
            (name, format_entry(part["lost"], unit="%"), format_entry(part["suppressed"], unit="%"))
            for name, part in own.items()
            if "lost" in part
        ),
        note="Half of the facts, or all; see docs/verdict.md for how a verdict is reached.",
    )


def _failures(results: dict[str, Any]) -> StudyTable:
    return StudyTable(
        title=f"Where a label-free score is worse by more than {100 * MARGIN:g} points",
        columns=("Method", "As many", "Kept", "Score", "Than", "Held-out facts", "Points"),
        rows=tuple(failures(results)),
        note="Comparisons whose whole interval is below the margin; one in forty would be so by chance.",
    )


def _names(results: dict[str, Any], method: str, budget: str, keep: float) -> list[str]:
    """Return the scores that were compared at a share, the most accurate label-free ones first."""
    sets = results["sets"][method].get(budget, {})
    there = {name: keeps[f"{keep:g}"]["all"]["value"] for name, keeps in sets.items() if f"{keep:g}" in keeps}
    return sorted(there, key=lambda name: (name not in WITHOUT_LABELS, -(there[name] or 0), name))


def _halves(results: dict[str, Any], method: str) -> Figure:
    """Draw what each half is ahead of all facts, of the popular and of a random half by."""

    halves, sets = sets_of(results, method, "steps"), results["sets"][method]["steps"]
    order = sorted(halves, key=lambda name: -sets[name][f"{HALF:g}"]["all"]["value"])
    kinds = {
        "without labels": [name for name in order if name in WITHOUT_LABELS],
        POPULAR: [name for name in order if name == POPULAR],
        "placebo": [name for name in order if name not in (*WITHOUT_LABELS, POPULAR)],
    }
    rivals = {WHOLE: "less all facts\n(points)", POPULAR: "less popular half\n(points)"}
    rivals[RANDOM] = "less random half\n(points)"
    panels = {
        title: [
            Curve(
                label=kind,
                x=own,
                y=[number_of(halves, name, rival, "all") for name in own],
            )
            for kind, own in kinds.items()
            if own
        ]
        for rival, title in rivals.items()
    }
    marks = dict.fromkeys(rivals.values(), -MARGIN) | {rivals[RANDOM]: 0.0}
    return forests(panels, marks=marks, order=order, percent=True)


def _curves(results: dict[str, Any], method: str) -> Figure:
    sets = results["sets"][method]["steps"]
    whole = sets.get(WHOLE, {}).get("1")
    panels: dict[str, list[Curve]] = {}
    for part, title in (("all", "All held-out facts"), ("known", "Known to the base")):
        panels[title] = []
        for name in MAIN:
            places = sorted(sets.get(name, {}), key=float)
            y = [sets[name][keep][part] for keep in places]
            if places:
                x = [100 * float(keep) for keep in places] + ([100.0] if whole else [])
                panels[title].append(Curve(label=name, x=x, y=[*y, *([whole[part]] if whole else [])]))
    return curves(panels, x="training facts kept (%)", y="held-out accuracy (%)", percent=True)
