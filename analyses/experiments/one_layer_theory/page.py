"""Page of the one-layer theory's experiment: tables and figures of the small model and of the deep one."""

from __future__ import annotations

import pandas as pd

from analyses.experiments.one_layer_theory.claims import PLACES, claims
from analyses.experiments.one_layer_theory.numbers import DEEP, GEOMETRIES, READINGS, WHERE, key
from analyses.experiments.one_layer_theory.rows import STEPPED, TRAINED
from interp.reports.figures.curves import curves
from interp.reports.pages.results_tables import curve, decided_study, results_table, write_number
from interp.reports.pages.study import Study, StudyFigure, StudyTable
from interp.reports.read.results import Results

NAMES = {**PLACES, "m": "m (proxy)", "m_exact": "m, exact", "m_other": "another's m"}
SMALL = {
    "Examples with m below 0, %": ("step/negative", "share"),
    "Sign of m and of the step's change agree: own subject, %": ("step/sign_own", "share"),
    "untrained subjects, mean, %": ("step/sign_untrained", "share"),
    "untrained subjects, one by one, %": ("step/sign_pairs", "share"),
    "placebo: another fact's m, %": ("step/sign_placebo", "share"),
    "placebo: other question tokens, %": ("step/sign_other_prompts", "share"),
    "Salience higher after a fact's own sighting, %": ("salience/rose", "share"),
    "than after its sighting before, %": ("salience/rose_since", "share"),
    "placebo: after another subject's sighting, %": ("salience/rose_elsewhere", "share"),
    "Rank correlation of m with the change: own subject": ("step/rank_own", "+2"),
    "untrained subjects": ("step/rank_untrained", "+2"),
    "placebo: another fact's m, untrained": ("step/rank_placebo", "+2"),
    "Rank correlation of sightings with salience": ("salience/rank", "+2"),
}


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with tables and figures."""
    held = results.below()
    small = {geometry: held[geometry] for geometry in GEOMETRIES if geometry in held}
    tables, figures = [], []
    if small:
        tables = [_small_table(small), _runs_table(small)]
        figures = [_runs_figure(small)]
    if DEEP in held:
        tables.append(_deep_table(held[DEEP]))
        figures.append(_deep_figure(held[DEEP]))
    return decided_study(
        title="One-layer theory",
        question="Does the sign of m say where attention goes, in the one-layer model and in a deep one?",
        claims=claims(results),
        tables=tuple(tables),
        figures=tuple(figures),
        notes=_NOTES,
    )


def _small_table(small: dict[str, Results]) -> StudyTable:
    return StudyTable(
        title="One-layer model: single steps and sightings",
        columns=("Measure", *(f"{geometry} embeddings" for geometry in small)),
        rows=tuple(
            (name, *(write_number(part.at(place), how) for part in small.values()))
            for name, (place, how) in SMALL.items()
        ),
    )


def _runs_table(small: dict[str, Results]) -> StudyTable:
    return results_table(
        "One-layer model: whole fine-tunings, held-out subjects",
        "Embeddings, trained, arm",
        {
            f"{geometry}, {trained}, {arm}": part
            for geometry, results in small.items()
            for trained in TRAINED
            for arm, part in results.below(f"runs/{key(trained)}/arms").items()
        },
        {
            "mean m at the start": ("m_start", "+3"),
            "mean m over the run": ("m_whole", "+3"),
            "attention, points": ("change", "points"),
            "accuracy, %": ("accuracy", "share"),
            "accuracy, stated facts, %": ("accuracy_known", "share"),
        },
    )


def _deep_table(deep: Results) -> StudyTable:
    rows = []
    for stepped in STEPPED:
        for where in WHERE:
            part = deep.part(f"{key(stepped)}/{where}")
            for name in READINGS:
                cells = (
                    write_number(part.at(place + name), how)
                    for place, how in (
                        ("rank_", "+2"),
                        ("rank_within_", "+2"),
                        ("sign_", "share"),
                        ("heads_rank_", "+2"),
                        ("sign_heads_", "share"),
                    )
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


def _runs_figure(small: dict[str, Results]) -> StudyFigure:
    figure = curves(
        {
            f"{geometry.capitalize()} embeddings": [
                curve(f"{trained} trained", arms, "change")
                for trained in TRAINED
                if (arms := part.below(f"runs/{key(trained)}/arms"))
            ]
            for geometry, part in small.items()
        },
        x="fine-tuned on",
        y="held-out subject attention (points)",
        percent=True,
        zero=True,
    )
    caption = "One-layer model: change of attention to held-out subjects after fine-tuning on each arm."
    return StudyFigure(name="one-layer-runs", figure=figure, caption=caption)


def _deep_figure(deep: Results) -> StudyFigure:
    def ranks(stepped: str, where: str) -> dict[str, Results]:
        return {NAMES[name]: deep.part(f"{key(stepped)}/{where}/rank_{name}") for name in READINGS}

    figure = curves(
        {
            f"On {NAMES[where]}": [curve(f"step on {each}", ranks(each, where), "") for each in STEPPED]
            for where in WHERE
        },
        x="predictor at the base",
        y="rank correlation with the change",
        zero=True,
    )
    caption = "Deep model: how well m ranks examples by what one step on each does to subject attention."
    return StudyFigure(name="deep-steps", figure=figure, caption=caption)


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
