"""Page of the one-layer theory's experiment: tables and figures of the small model and of the deep one."""

from __future__ import annotations

from typing import Any

from analyses.experiments.one_layer_theory.claims import PLACES, claims, number_at
from analyses.experiments.one_layer_theory.numbers import DEEP, GEOMETRIES, READINGS, WHERE, key
from analyses.experiments.one_layer_theory.rows import STEPPED, TRAINED
from interp.reports.figures.curves import Curve, curves
from interp.reports.pages.study import Study, StudyFigure, StudyTable, claim_sentence, format_entry

NAMES = {**PLACES, "m": "m (proxy)", "m_exact": "m, exact", "m_other": "another's m"}


def page(results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    made = claims(results)
    small = [geometry for geometry in GEOMETRIES if geometry in results]
    tables = [_small_table(results, small), _runs_table(results, small)] if small else []
    figures = [_runs_figure(results, small)] if small else []
    if DEEP in results:
        tables.append(_deep_table(results[DEEP]))
        figures.append(_deep_figure(results[DEEP]))
    return Study(
        title="One-layer theory",
        question="Does the sign of m say where attention goes, in the one-layer model and in a deep one?",
        finding=claim_sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=tuple(tables),
        figures=tuple(figures),
        notes=_NOTES,
    )


def _small_table(results: dict[str, Any], geometries: list[str]) -> StudyTable:
    shares = {
        "Examples with m below 0, %": "step.negative",
        "Sign of m and of the step's change agree: own subject, %": "step.sign_own",
        "untrained subjects, mean, %": "step.sign_untrained",
        "untrained subjects, one by one, %": "step.sign_pairs",
        "placebo: another fact's m, %": "step.sign_placebo",
        "placebo: other question tokens, %": "step.sign_other_prompts",
        "Salience higher after a fact's own sighting, %": "salience.rose",
        "than after its sighting before, %": "salience.rose_since",
        "placebo: after another subject's sighting, %": "salience.rose_elsewhere",
    }
    ranks = {
        "Rank correlation of m with the change: own subject": "step.rank_own",
        "untrained subjects": "step.rank_untrained",
        "placebo: another fact's m, untrained": "step.rank_placebo",
        "Rank correlation of sightings with salience": "salience.rank",
    }
    rows = [
        (name, *(format_entry(number_at(results[g], path), unit="%").replace("%", "") for g in geometries))
        for name, path in shares.items()
    ]
    rows += [
        (name, *(format_entry(number_at(results[g], path), digits=2, signed=True) for g in geometries))
        for name, path in ranks.items()
    ]
    return StudyTable(
        title="One-layer model: single steps and sightings",
        columns=("Measure", *(f"{geometry} embeddings" for geometry in geometries)),
        rows=tuple(rows),
    )


def _runs_table(results: dict[str, Any], geometries: list[str]) -> StudyTable:
    rows = []
    for geometry in geometries:
        for trained in TRAINED:
            for arm, part in results[geometry]["runs"][key(trained)]["arms"].items():
                cells = (
                    format_entry(part[name], unit="%", signed=name == "change")
                    for name in ("change", *_ACCURACY)
                )
                means = (format_entry(part[name], digits=3, signed=True) for name in ("m_start", "m_whole"))
                rows.append((f"{geometry}, {trained}, {arm}", *means, *(c.replace("%", "") for c in cells)))
    return StudyTable(
        title="One-layer model: whole fine-tunings, held-out subjects",
        columns=(
            "Embeddings, trained, arm",
            "mean m at the start",
            "mean m over the run",
            "attention, points",
            "accuracy, %",
            "accuracy, stated facts, %",
        ),
        rows=tuple(rows),
    )


def _deep_table(deep: dict[str, Any]) -> StudyTable:
    rows = []
    for stepped in STEPPED:
        for where in WHERE:
            part = deep[key(stepped)][where]
            for name in READINGS:
                cells = (
                    format_entry(part[f"rank_{name}"], digits=2, signed=True),
                    format_entry(part[f"rank_within_{name}"], digits=2, signed=True),
                    format_entry(part[f"sign_{name}"], unit="%").replace("%", ""),
                    format_entry(part[f"heads_rank_{name}"], digits=2, signed=True),
                    format_entry(part[f"sign_heads_{name}"], unit="%").replace("%", ""),
                )
                rows.append((f"{stepped}, {NAMES[where]}, {NAMES[name]}", *cells))
    return StudyTable(
        title="Deep model: m against the measured change of subject attention after one step",
        columns=(
            "Step on, measured on, predictor",
            "rank correlation",
            "the same within relations",
            "same sign, %",
            "rank correlation, head by head",
            "same sign, head by head, %",
        ),
        rows=tuple(rows),
    )


def _runs_figure(results: dict[str, Any], geometries: list[str]) -> StudyFigure:

    def of_geometry(geometry: str) -> list[Curve]:
        runs = results[geometry]["runs"]
        return [
            Curve(label=f"{t} trained", x=list(arms), y=[arm["change"] for arm in arms.values()])
            for t in TRAINED
            if (arms := runs[key(t)]["arms"])
        ]

    figure = curves(
        {f"{g.capitalize()} embeddings": of_geometry(g) for g in geometries},
        x="fine-tuned on",
        y="held-out subject attention (points)",
        percent=True,
        zero=True,
    )
    caption = "One-layer model: change of attention to held-out subjects after fine-tuning on each arm."
    return StudyFigure(name="one-layer-runs", figure=figure, caption=caption)


def _deep_figure(deep: dict[str, Any]) -> StudyFigure:

    figure = curves(
        {
            f"On {NAMES[where]}": [
                Curve(
                    label=f"step on {stepped}",
                    x=[NAMES[name] for name in READINGS],
                    y=[deep[key(stepped)][where][f"rank_{name}"] for name in READINGS],
                )
                for stepped in STEPPED
            ]
            for where in WHERE
        },
        x="predictor at the base",
        y="rank correlation with the change",
        zero=True,
    )
    caption = "Deep model: how well m ranks examples by what one step on each does to subject attention."
    return StudyFigure(name="deep-steps", figure=figure, caption=caption)


_ACCURACY = ("accuracy", "accuracy_known")
_NOTES = (
    "Prompts of different relations have levels of their own, and another fact of the same relation shares "
    "them: where the placebo's correlation is far from zero, read the one within relations. That column and "
    "the claims so marked were added when the first seed of the deep model had been seen.",
    "In the one-layer model a single step in W_V moves no attention, so one small step in W_KQ stands for "
    "one in both matrices; only whole fine-tunings differ.",
    "The gradients' largest difference is counted, not estimated: its bounds are the number itself.",
    "The proxy m counts each head's direct path to the logits; the exact m is the loss's derivative in the "
    "attention scores of the subject, by automatic differentiation through the whole model.",
)
