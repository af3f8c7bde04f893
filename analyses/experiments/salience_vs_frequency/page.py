"""Page of the survival experiment: tables and curves of what each predictor says."""

from __future__ import annotations

import pandas as pd

from analyses.experiments.salience_vs_frequency.claims import CURVED, claims, names_of
from analyses.experiments.salience_vs_frequency.numbers import PLACEBO, PREDICTORS, TIERS
from interp.reports.figures.curves import Curve, curves, forest
from interp.reports.figures.experiments import frequency_curves
from interp.reports.pages.results_tables import curve, decided_study, write_number
from interp.reports.pages.study import Study, StudyFigure, StudyTable
from interp.reports.read.results import Number, Results

Names = dict[str, str]


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with tables and curves."""
    real = str(frame["level"].iloc[0]).startswith("q")
    names = names_of(real=real)
    levels = frequency_curves(results.tree(), real=real)
    return decided_study(
        title="Salience against frequency",
        question="Which facts survive fine-tuning: those met often, or those that the base's own values hold "
        "strongly?",
        claims=claims(results, real=real),
        tables=(_predictors(results, names), _arms(results, names), _levels(results, real)),
        figures=(
            StudyFigure(name="levels", figure=levels, caption=_LEVELS),
            _areas(results, names),
            _calibration(results, names),
        ),
        notes=_NOTES,
    )


def _predictors(results: Results, names: Names) -> StudyTable:
    often = names["frequency"]
    rows = []
    for name in PREDICTORS:
        found, fit = results.part(f"any_arm/{name}"), results.part(f"calibration/{name}")
        rows.append(
            (
                names[name],
                write_number(found.at("area"), "3"),
                "" if name == "frequency" else write_number(found.at("over_frequency"), "+3"),
                "" if name == PLACEBO else write_number(found.at("over_placebo"), "+3"),
                write_number(fit.at("brier"), "3"),
                write_number(fit.at("brier_gain"), "+3"),
                write_number(results.at(f"salience/{name}"), "+2?"),
            )
        )
    return StudyTable(
        title="How well each predictor at the base foretells that a known fact survives (mean over arms)",
        columns=(
            "Predictor",
            "AUROC",
            f"over {often}",
            "over the shuffled",
            "Brier score",
            "gain on the base rate",
            f"rank corr. with {often}",
        ),
        rows=tuple(rows),
    )


def _arms(results: Results, names: Names) -> StudyTable:
    arms = results.below("arms")
    areas = {f"AUROC: {names[name]}": (f"predictors/{name}/area", "3") for name in PREDICTORS}
    ranks = {
        f"rank correlation with log p(answer): {names[name]}": (f"predictors/{name}/rank_log_prob", "+2")
        for name in PREDICTORS
    }
    shown = {"known facts that survive, %": ("accuracy_known", "share"), **areas, **ranks}
    rows = tuple(
        (told, *(write_number(arm.at(place), how) for arm in arms.values()))
        for told, (place, how) in shown.items()
    )
    return StudyTable(title="Arm by arm, known facts", columns=("Measure", *arms), rows=rows)


def _levels(results: Results, real: bool) -> StudyTable:
    arms = results.below("arms")

    def cells(level: str) -> tuple[str, ...]:
        stored: list[Number] = [results.at(f"storage/{level}/{part}") for part in ("all", *TIERS)]
        kept = [arm.at(f"survival/{level}/{tier}") for arm in arms.values() for tier in TIERS]
        return tuple(write_number(number, "share") for number in (*stored, *kept))

    return StudyTable(
        title="Facts that the base states in every form, and of these the share that survives, %",
        columns=(
            "Views, quartile (Q1 most)" if real else "Sightings",
            "stated",
            *(f"stated, {tier} answer" for tier in TIERS),
            *(f"{arm}, {tier}" for arm in arms for tier in TIERS),
        ),
        rows=tuple((level.upper() if real else level, *cells(level)) for level in results.below("storage")),
        note="An answer is common if it is so for more of its relation's facts than the median fact's is.",
    )


def _areas(results: Results, names: Names) -> StudyFigure:
    series = [
        curve(arm, {names[name]: part.part(f"predictors/{name}") for name in PREDICTORS}, "area")
        for arm, part in results.below("arms").items()
    ]
    caption = "How likely a surviving fact has the larger value of a predictor than one that is lost."
    figure = forest(series, x="AUROC of survival, known facts", mark=(0.5, "chance"))
    return StudyFigure(name="predictors", figure=figure, caption=caption)


def _calibration(results: Results, names: Names) -> StudyFigure:
    panels = {" and ".join(names[n] for n in pair): pair for pair in (CURVED[:2], CURVED[2:])}
    figure = curves(
        {title: [_fifths(results, names, name) for name in pair] for title, pair in panels.items()},
        x="predicted survival",
        y="observed survival",
    )
    for axes in figure.axes:
        axes.autoscale(enable=False)
        axes.axline((0.5, 0.5), slope=1, color="0.6", linewidth=0.8, zorder=0)
    caption = "Fifths of the known facts by predicted survival; the curves were fitted on other facts."
    return StudyFigure(name="calibration", figure=figure, caption=caption)


def _fifths(results: Results, names: Names, name: str) -> Curve:
    pairs = [
        (part.at("predicted")["value"], part.at("observed"))
        for part in results.below(f"calibration/{name}/bins").values()
    ]
    there = [(x, y) for x, y in pairs if x is not None]
    return Curve(label=names[name], x=[x for x, _ in there], y=[y for _, y in there])


_LEVELS = "Left: facts that the base states in every form. Right: of these, the share that each arm answers."
_NOTES = (
    "A fact is known if the base states it in every form, and survives if the arm answers its question.",
    "Probabilities come from a logistic curve in a predictor's rank, fitted on the other seeds (with one "
    "seed on the other half of the subjects); the base rate is those facts' share of survivors.",
)
