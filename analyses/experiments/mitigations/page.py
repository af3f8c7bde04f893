"""What cures come to: claims, tables, a figure and what was chosen."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analyses.experiments.mitigations.numbers import GOAL, relative_times
from analyses.experiments.mitigations.strength import ALLOWED
from analyses.experiments.mitigations.treatments import ANY, CURES, NONE, PLACEBO_OF, PLACEBOS, REFERENCES
from interp.reports.figures.curves import forests
from interp.reports.pages.results_tables import Wording, curve, decide_each, write_number
from interp.reports.pages.study import (
    NOT_MEASURED,
    Claim,
    Study,
    StudyFigure,
    StudyTable,
    claim_sentence,
    decide,
)
from interp.reports.read.results import Results

SOURCE = "issue: cures"
# Heading, place, how it is written, and whether it is told of the uncured arm, too.
COLUMNS = (
    ("Restored, %", "restored", "share", True),
    ("Rest, points", "rest", "points", False),
    ("Newly learned, points", "new", "points", False),
    ("Known kept, %", "known_kept", "share", False),
    ("Held out, %", "all", "share", True),
    ("Statements, nats", "statements", "2", True),
)
COSTS = {"rest": "the other held-out facts", "new": "what was newly learned"}


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide, first of the cure chosen on other seeds, then of every cure."""
    held = results.below("cures")
    made = _three("the cure that is best on the other seeds", "chosen")
    for cure in CURES:
        made += _three(cure, f"cures/{cure}") if cure in held else []
    made += [
        (
            f"{cure}: restores more of the stored facts than its placebo, {placebo}",
            SOURCE,
            f"cures/{cure}/beyond",
            "points",
        )
        for cure, placebo in PLACEBO_OF.items()
        if f"cures/{cure}/beyond" in results
    ]
    return decide_each(results, made)


def _three(cure: str, place: str) -> list[Wording]:
    restores = f"{cure}: restores at least {GOAL:.0%} of the stored facts"
    costs = f"{cure}: costs at most {100 * ALLOWED:g} points of"
    return [
        (restores, SOURCE, f"{place}/restored", "%", GOAL),
        *((f"{costs} {what}", SOURCE, f"{place}/{key}", "points", -ALLOWED) for key, what in COSTS.items()),
    ]


def aim(numbers: Results) -> str:
    """Say whether a cure restores enough and costs little enough: by its intervals, or else by its means."""
    restored, rest = numbers.at("restored"), numbers.at("rest")
    outcomes = [decide(restored, above=GOAL), decide(rest, above=-ALLOWED)]
    if all(outcome == "supported" for outcome in outcomes):
        return "met"
    if "not supported" in outcomes:
        return "missed"
    if None in (restored["value"], rest["value"]):
        return "open"
    met = restored["value"] >= GOAL and rest["value"] >= -ALLOWED
    return f"open, on average {'met' if met else 'missed'}"


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with tables, a figure and what was chosen on validation facts."""
    made, took, held = claims(results), relative_times(frame), results.below("cures")
    at_any = tuple(name + ANY for name in (*CURES, *PLACEBOS))
    placebos = "The same without what a cure is meant to act by."
    tables = tuple(
        StudyTable(
            title=title,
            columns=("Cure", *(heading for heading, *_ in COLUMNS), "Time", "Aim"),
            rows=tuple(_row(name, held[name], took[name]) for name in names if name in held),
            note=note,
        )
        for title, names, note in (
            ("What each cure restores and costs", (*REFERENCES, *CURES), _NOTE),
            ("Placebos", (NONE, *PLACEBOS), placebos),
            ("Cures after training of which the strength was chosen whatever it costs", at_any, _ANY),
        )
    )
    tried = [cure for cure in CURES if cure in held]
    met = [cure for cure in tried if aim(held[cure]) == "met"]
    # Of one seed nothing is chosen on others; its cures are measured all the same.
    told = made[:3] if made[0].outcome != NOT_MEASURED or len(made) == 3 else made[3:]
    reached = f"Of {len(tried)} cures {len(met)} meet the aim{': ' + ', '.join(met) if met else ''}"
    return Study(
        title="Mitigations",
        question="How does one get lost facts back that are still stored, and what does it cost?",
        finding=f"{reached}. {claim_sentence(told)}",
        outcome="supported" if met else told[0].outcome,
        claims=made,
        tables=(*tables, _strengths(frame)),
        figures=(StudyFigure(name="cures", figure=_figure(held), caption=_CAPTION),),
        notes=_NOTES,
    )


def _row(name: str, numbers: Results, time: float) -> tuple[str, ...]:
    cells = (
        write_number(numbers.at(place), how) if always or name != NONE else ""
        for _, place, how, always in COLUMNS
    )
    own = ("", "") if name in REFERENCES else (f"{time:.2f}", aim(numbers))
    return (name, *cells, *own)


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


def _figure(cures: dict[str, Results]) -> Figure:
    """Draw what is restored and what that costs, a row a cure, those that restore most on top."""
    restored = {
        name: part.at("restored")["value"]
        for name, part in cures.items()
        if name != NONE and not name.endswith(ANY)
    }
    there = {name: value for name, value in restored.items() if value is not None}
    ranked = sorted(there, key=lambda name: -there[name])
    kinds = {"cure": CURES, "placebo": PLACEBOS, "other data": tuple(REFERENCES)}
    panels = {
        title: [
            curve(kind, own, key)
            for kind, names in kinds.items()
            if (own := {name: cures[name] for name in ranked if name in names})
        ]
        for key, title in _PANELS.items()
    }
    marks = dict.fromkeys(_PANELS.values(), (-ALLOWED, "aim")) | {_PANELS["restored"]: (GOAL, "aim")}
    return forests(panels, marks=marks, order=ranked, percent=True)


_PANELS = {
    "restored": "stored facts\nrestored (%)",
    "rest": "other held-out facts\n(points)",
    "new": "newly learned\n(points)",
}
_CAPTION = (
    "What each cure restores of the stored facts, and what it gains or costs otherwise against the "
    "uncured arm, with 95% intervals. The aim is to be right of the line in each panel."
)
_NOTE = (
    "Restored: of the held-out facts that the uncured arm lost and still stores. Rest: accuracy on the other "
    "held-out facts, less the uncured arm's. Newly learned: the same on the arm's own training facts that "
    "the base does not state. Known kept: of the held-out facts that the base states and the uncured arm "
    "answers. "
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
    "Stored facts are lost ones, by the verdict on the uncured arm; no cure saw a held-out fact. Other known "
    "facts are training facts outside the unpopular half that the base states: a cure that takes them needs "
    "more data than the arm had, though what distillation teaches are the base's own answers.",
    "Scaled attention lives in no weights: it is made anew for every prompt, by one who knows the subject.",
    "A cure of which no strength did better on known validation facts, at the allowed cost, is no cure: "
    "it is reported with strength none and equals the uncured arm.",
    "Some twenty cures are tried, so one of them may meet the aim by chance; the first three claims, of a "
    "cure chosen on other seeds, are free of that.",
)
