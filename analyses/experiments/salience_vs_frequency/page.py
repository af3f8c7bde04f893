"""Page of the survival experiment: tables and curves of what each predictor says."""

from __future__ import annotations

from typing import Any

from analyses.experiments.salience_vs_frequency.claims import CURVED, claims, names_of
from analyses.experiments.salience_vs_frequency.numbers import PLACEBO, PREDICTORS, TIERS
from interp.reports.figures.curves import Curve, curves, forest
from interp.reports.figures.experiments import frequency_curves
from interp.reports.pages.study import Study, StudyFigure, StudyTable, claim_sentence, format_entry


def page(results: dict[str, Any], *, real: bool) -> Study:
    """Say what the numbers decide, with tables and curves."""
    made, names = claims(results, real=real), names_of(real=real)
    return Study(
        title="Salience against frequency",
        question="Which facts survive fine-tuning: those met often, or those that the base's own values hold "
        "strongly?",
        finding=claim_sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(_predictors(results, names), _arms(results, names), _levels(results, real)),
        figures=(_by_level(results, real), _areas(results, names), _calibration(results, names)),
        notes=_NOTES,
    )


def _predictors(results: dict[str, Any], names: dict[str, str]) -> StudyTable:
    def row(name: str) -> tuple[str, ...]:
        found, fit = results["any_arm"][name], results["calibration"][name]
        rank = results["salience"].get(name)
        return (
            names[name],
            format_entry(found["area"], digits=3),
            "" if name == "frequency" else format_entry(found["over_frequency"], digits=3, signed=True),
            "" if name == PLACEBO else format_entry(found["over_placebo"], digits=3, signed=True),
            format_entry(fit["brier"], digits=3),
            format_entry(fit["brier_gain"], digits=3, signed=True),
            "" if rank is None else format_entry(rank, digits=2, signed=True),
        )

    return StudyTable(
        title="How well each predictor at the base foretells that a known fact survives (mean over arms)",
        columns=(
            "Predictor",
            "AUROC",
            f"over {names['frequency']}",
            "over the shuffled",
            "Brier score",
            "gain on the base rate",
            f"rank corr. with {names['frequency']}",
        ),
        rows=tuple(row(name) for name in PREDICTORS),
    )


def _arms(results: dict[str, Any], names: dict[str, str]) -> StudyTable:
    arms = results["arms"]
    rows = [("known facts that survive, %", *(_percent(arm["accuracy_known"]) for arm in arms.values()))]
    rows += [
        (
            f"AUROC: {names[name]}",
            *(format_entry(arm["predictors"][name]["area"], digits=3) for arm in arms.values()),
        )
        for name in PREDICTORS
    ]
    rows += [
        (
            f"rank correlation with log p(answer): {names[name]}",
            *(
                format_entry(a["predictors"][name]["rank_log_prob"], digits=2, signed=True)
                for a in arms.values()
            ),
        )
        for name in PREDICTORS
    ]
    return StudyTable(title="Arm by arm, known facts", columns=("Measure", *arms), rows=tuple(rows))


def _levels(results: dict[str, Any], real: bool) -> StudyTable:
    arms = results["arms"]
    rows = [
        (
            level.upper() if real else level,
            *(_percent(stored[part]) for part in ("all", *TIERS)),
            *(_percent(arm["survival"][level][part]) for arm in arms.values() for part in TIERS),
        )
        for level, stored in results["storage"].items()
    ]
    return StudyTable(
        title="Facts that the base states in every form, and of these the share that survives, %",
        columns=(
            "Views, quartile (Q1 most)" if real else "Sightings",
            "stated",
            *(f"stated, {tier} answer" for tier in TIERS),
            *(f"{arm}, {tier}" for arm in arms for tier in TIERS),
        ),
        rows=tuple(rows),
        note="An answer is common if it is so for more of its relation's facts than the median fact's is.",
    )


def _percent(number: dict[str, Any]) -> str:
    return format_entry(number, unit="%").replace("%", "")


def _by_level(results: dict[str, Any], real: bool) -> StudyFigure:

    caption = (
        "Left: facts that the base states in every form. Right: of these, the share that each arm answers."
    )
    return StudyFigure(name="levels", figure=frequency_curves(results, real=real), caption=caption)


def _areas(results: dict[str, Any], names: dict[str, str]) -> StudyFigure:

    series = [
        Curve(
            label=arm,
            x=[names[name] for name in PREDICTORS],
            y=[part["predictors"][name]["area"] for name in PREDICTORS],
        )
        for arm, part in results["arms"].items()
    ]
    caption = "How likely a surviving fact has the larger value of a predictor than one that is lost."
    figure = forest(series, x="AUROC of survival, known facts", mark=0.5)
    return StudyFigure(name="predictors", figure=figure, caption=caption)


def _calibration(results: dict[str, Any], names: dict[str, str]) -> StudyFigure:

    panels = {" and ".join(names[n] for n in pair): pair for pair in (CURVED[:2], CURVED[2:])}
    figure = curves(
        {title: [_curve(results, names, name) for name in pair] for title, pair in panels.items()},
        x="predicted survival",
        y="observed survival",
    )
    for axes in figure.axes:
        axes.autoscale(enable=False)
        axes.axline((0.5, 0.5), slope=1, color="0.6", linewidth=0.8, zorder=0)
    caption = "Fifths of the known facts by predicted survival; the curves were fitted on other facts."
    return StudyFigure(name="calibration", figure=figure, caption=caption)


def _curve(results: dict[str, Any], names: dict[str, str], name: str) -> Curve:
    bins = [
        part
        for part in results["calibration"][name]["bins"].values()
        if part["predicted"]["value"] is not None
    ]
    return Curve(
        label=names[name],
        x=[part["predicted"]["value"] for part in bins],
        y=[part["observed"] for part in bins],
    )


_NOTES = (
    "A fact is known if the base states it in every form, and survives if the arm answers its question.",
    "Probabilities come from a logistic curve in a predictor's rank, fitted on the other seeds (with one "
    "seed on the other half of the subjects); the base rate is those facts' share of survivors.",
)
