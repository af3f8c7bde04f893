"""What cures come to: claims, tables, a figure and what was chosen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from analyses.experiments.mitigations.numbers import GOAL, relative_times
from analyses.experiments.mitigations.strength import ALLOWED
from analyses.experiments.mitigations.treatments import (
    ANY,
    CURES,
    NONE,
    PLACEBO_OF,
    PLACEBOS,
    REFERENCES,
)
from interp.reports.figures.curves import Curve, forests
from interp.reports.pages.study import (
    Claim,
    Study,
    StudyFigure,
    StudyTable,
    claim_sentence,
    decide,
    decide_claim,
    format_entry,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Results = dict[str, Any]
SOURCE = "issue: cures"
COLUMNS = (
    "Cure",
    "Restored, %",
    "Rest, points",
    "Newly learned, points",
    "Known kept, %",
    "Held out, %",
    "Statements, nats",
    "Time",
    "Aim",
)


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide, first of the cure chosen on other seeds, then of every cure."""
    made = _three("the cure that is best on the other seeds", results["chosen"])
    for cure in CURES:
        if cure in results["cures"]:
            made += _three(cure, results["cures"][cure])
    made += [
        decide_claim(
            f"{cure}: restores more of the suppressed facts than its placebo, {placebo}",
            SOURCE,
            results["cures"][cure]["beyond"],
            unit="points",
        )
        for cure, placebo in PLACEBO_OF.items()
        if "beyond" in results["cures"].get(cure, {})
    ]
    return tuple(made)


def _three(cure: str, numbers: Results) -> list[Claim]:
    points = 100 * ALLOWED
    return [
        decide_claim(
            f"{cure}: restores at least {GOAL:.0%} of the suppressed facts",
            SOURCE,
            numbers["restored"],
            above=GOAL,
            unit="%",
        ),
        *(
            decide_claim(
                f"{cure}: costs at most {points:g} points of {what}",
                SOURCE,
                numbers[key],
                above=-ALLOWED,
                unit="points",
            )
            for key, what in (("rest", "the other held-out facts"), ("new", "what was newly learned"))
        ),
    ]


def aim(numbers: Results) -> str:
    """Say whether a cure restores enough and costs little enough: by its intervals, or else by its means."""
    outcomes = [decide(numbers["restored"], above=GOAL), decide(numbers["rest"], above=-ALLOWED)]
    if all(outcome == "supported" for outcome in outcomes):
        return "met"
    if "not supported" in outcomes:
        return "missed"
    values = numbers["restored"]["value"], numbers["rest"]["value"]
    if None in values:
        return "open"
    return (
        "open, on average met" if values[0] >= GOAL and values[1] >= -ALLOWED else "open, on average missed"
    )


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with tables, a figure and what was chosen on validation facts."""
    made, took = claims(results), relative_times(frame)
    kinds = {
        "cures": (*REFERENCES, *CURES),
        "placebos": (NONE, *PLACEBOS),
        "any": tuple(name + ANY for name in (*CURES, *PLACEBOS)),
    }
    tables = tuple(
        StudyTable(title=title, columns=COLUMNS, rows=_rows(results, took, kinds[kind]), note=note)
        for kind, title, note in (
            ("cures", "What each cure restores and costs", _NOTE),
            ("placebos", "Placebos", "The same without what a cure is meant to act by."),
            ("any", "Cures after training of which the strength was chosen whatever it costs", _ANY),
        )
    )
    met = [cure for cure in CURES if cure in results["cures"] and aim(results["cures"][cure]) == "met"]
    reached = f"Of {sum(c in results['cures'] for c in CURES)} cures {len(met)} meet the aim"
    finding = f"{reached}{': ' + ', '.join(met) if met else ''}. {claim_sentence(made[:3])}"
    return Study(
        title="Mitigations",
        question="How does one get suppressed facts back, and what does it cost?",
        finding=finding,
        outcome="supported" if met else made[0].outcome,
        claims=made,
        tables=(*tables, _strengths(frame)),
        figures=(StudyFigure(name="cures", figure=_figure(results), caption=_CAPTION),),
        notes=_NOTES,
    )


def _rows(results: Results, took: dict[str, float], names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    held = results["cures"]
    return tuple(_row(name, held[name], took[name]) for name in names if name in held)


def _row(name: str, numbers: Results, time: float) -> tuple[str, ...]:
    def share(key: str, *, signed: bool = False) -> str:
        return format_entry(numbers[key], unit="%", signed=signed).replace("%", "")

    is_cure = name not in REFERENCES
    return (
        name,
        share("restored"),
        share("rest", signed=True) if name != NONE else "",
        share("new", signed=True) if name != NONE else "",
        share("known_kept") if name != NONE else "",
        share("all"),
        format_entry(numbers["statements"], digits=2),
        f"{time:.2f}" if is_cure else "",
        aim(numbers) if is_cure else "",
    )


def _strengths(frame: pd.DataFrame) -> StudyTable:
    """List what was chosen on validation facts, by cure and seed."""
    told = frame.drop_duplicates(["cure", "seed"])
    rows = tuple(
        (str(row["cure"]), str(row["seed"]), _worded(json.loads(row["told"])))
        for _, row in told.iterrows()
        if row["cure"] not in REFERENCES
    )
    return StudyTable(
        title="What was chosen on validation facts", columns=("Cure", "Seed", "Chosen"), rows=rows
    )


def _worded(told: dict[str, Any]) -> str:
    parts = []
    for name, value in told.items():
        if name == "heads" and value is not None:
            value = " ".join(f"{layer}.{head}" for layer, head in value)
        if value is not None:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _figure(results: Results) -> Figure:
    """Draw what is restored and what that costs, a row a cure, those that restore most on top."""

    held = {
        name: numbers
        for name, numbers in results["cures"].items()
        if name != NONE and not name.endswith(ANY) and numbers["restored"]["value"] is not None
    }
    ranked = sorted(held, key=lambda name: -held[name]["restored"]["value"])
    kinds = {"cure": CURES, "placebo": PLACEBOS, "other data": tuple(REFERENCES)}
    panels = {
        title: [
            Curve(label=kind, x=own, y=[held[name][key] for name in own])
            for kind, names in kinds.items()
            if (own := [name for name in ranked if name in names])
        ]
        for key, title in _PANELS.items()
    }
    marks = dict.fromkeys(_PANELS.values(), -ALLOWED) | {_PANELS["restored"]: GOAL}
    return forests(panels, marks=marks, order=ranked, percent=True)


_PANELS = {
    "restored": "suppressed facts\nrestored (%)",
    "rest": "other held-out facts\n(points)",
    "new": "newly learned\n(points)",
}
_CAPTION = (
    "What each cure restores of the suppressed facts, and what it gains or costs otherwise against the "
    "uncured arm, with 95% intervals. The aim is to be right of the line in each panel."
)
_NOTE = (
    "Restored: of the held-out facts that the uncured arm suppresses. Rest: accuracy on the other held-out "
    "facts, less the uncured arm's. Newly learned: the same on the arm's own training facts that the base "
    "does not state. Known kept: of the held-out facts that the base states and the uncured arm answers. "
    "Statements: mean -log p(answer) over statement forms of held-out facts. Time: CPU time of the cure as a "
    "multiple of the uncured fine-tuning's; a cure while training takes that fine-tuning's place, for one "
    "after training it is what making it and choosing its strength takes. Aim: at least half restored at a "
    "cost of at most 2 points of the rest, both by their intervals."
)
_ANY = (
    "The strength that answers most of the validation facts that the base states, whatever else is lost. "
    "These are no part of the claims."
)
_NOTES = (
    "Suppressed facts are those of a verdict on the uncured arm; no cure saw a held-out fact. Other known "
    "facts are training facts outside the unpopular half that the base states: a cure that takes them needs "
    "more data than the arm had, though what distillation teaches are the base's own answers.",
    "Scaled attention lives in no weights: it is made anew for every prompt, by one who knows the subject.",
    "A cure of which no strength did better on known validation facts, at the allowed cost, is no cure: "
    "it is reported with strength none and equals the uncured arm.",
    "Some twenty cures are tried, so one of them may meet the aim by chance; the first three claims, of a "
    "cure chosen on other seeds, are free of that.",
)
