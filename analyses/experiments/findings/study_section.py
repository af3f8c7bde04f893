"""A study's section of the findings: its primary endpoints first, then arms and the exploratory contrasts.

It is made of the archived cells alone (:mod:`analyses.experiments.popularity_splits.archive`), of those seeds
of which every arm is there. From three seeds on numbers are over seeds, and the exploratory ones are
corrected together; with fewer each seed is shown with its own interval over subjects, which says nothing of
other trainings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.experiments.findings.study_numbers import POOLED, StudyNumbers, outcome
from analyses.experiments.popularity_splits.cells import LAST
from finetune.common.files import atomic_file
from interp.reports.figures.curves import Curve, forest
from interp.reports.figures.style import small_png
from interp.reports.pages.results_tables import write_number
from interp.reports.read.results import Number
from interp.stats import adjusted

ASKED = {f"{LAST}, 0 examples": "equal steps", f"{LAST}, 4 examples": "equal steps, 4 examples"}
BEST = {"best, 0 examples": "best on validation", "best, 4 examples": "best on validation, 4 examples"}
PRIMARY = {
    "1. accuracy, top − bottom, on specifically known facts": "top_minus_bottom/accuracy_known",
    "2. accuracy, top − whole, on specifically known facts": "top_minus_whole/accuracy_known",
    "3. attention to the subject, top − bottom": "top_minus_bottom/subject_attention",
}
LATER = (
    "4. lost facts still stored, above controls",
    "5. pathway share of {W_Q W_K}, above its placebo",
)
ARM_HEADS = (
    *("arm", "of", "own facts learned", "known, 0 examples", "known, 4 examples"),
    *("all, 0 examples", "all, 4 examples", "subject attention"),
)
PREDICTED = {
    "popularity": "population",
    "base_statement": "log p after the base's statements",
    "base_log_prob": "log p after its question",
    "base_invented": "log p after an invented name",
    "kl_from_base": "KL from the base",
}
MEASURES = {
    "accuracy_known": "specifically known facts",
    "accuracy_known_uncommon": "those of them whose answer is not the commonest",
    "accuracy_highly_known": "those that are HighlyKnown",
    "accuracy_known_unguessed": "those not guessed from the sound of the name",
    "accuracy": "all held-out facts",
    "accuracy_q1": "the most populous quarter",
    "accuracy_q2": "the second quarter",
    "accuracy_q3": "the third quarter",
    "accuracy_q4": "the least populous quarter",
    "subject_attention": "attention to the subject",
}


def study_section(folder: Path, figures: Path) -> str:
    """Write an archived study's section as Markdown, and its picture into ``figures``.

    Raises:
        InputError: no cell is archived there.
    """
    numbers = StudyNumbers.load(folder)
    with atomic_file(figures / f"{folder.name}.png") as path:
        path.write_bytes(small_png(study_figure(numbers), dpi=110))
    lines = [
        f"### {folder.name}",
        "",
        _setting(numbers),
        "",
        *primary_table(numbers),
        "",
        f"![Differences between arms on specifically known facts](figures/{folder.name}.png)",
        "",
        "Arms at equal steps:",
        "",
        *arms_table(numbers),
        "",
        _layers(numbers.records),
        "",
        "What predicts which of the known facts an arm answers (area under the ROC curve; 0.5 says nothing):",
        "",
        *predictors_table(numbers),
        "",
        "Everything else is exploratory:",
        "",
        *exploratory_table(numbers),
        "",
    ]
    return "\n".join(lines)


def _setting(numbers: StudyNumbers) -> str:
    """Say what was trained on what, how often, and what that took."""
    one = next(record for record in numbers.records if record["arm"] != "base")
    config, seeds = one["config"], len(numbers.seeds)
    base = numbers.rows[(numbers.rows["arm"] == "base") & (numbers.rows["shots"] == 0)]
    known, asked = (
        base.groupby("seed")[name].agg(how) for name, how in (("known", "sum"), ("known", "size"))
    )
    over = (
        "Intervals are over seeds, corrected for seeds that split the same facts."
        if seeds >= POOLED
        else "Each seed is shown with its own interval over subjects, which says nothing of other trainings."
    )
    facts = f"{config['limit']:,} facts" if "limit" in config else "facts"
    what = f"{one['model']}, {facts} of {one['dataset']}, {one['method']}"
    return (
        f"{what}, {config['steps']} steps of {config['batch']} at {one['learning_rate']:g}: "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}, "
        f"{_spread(known)} of {_spread(asked)} held-out facts specifically known to the base; "
        f"{cpu_hours(numbers.records):.1f} hours of one CPU thread. Endpoints were "
        f"[written down before](primary_endpoints.md). {over}"
    )


def _spread(values: pd.Series[int]) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def primary_table(numbers: StudyNumbers) -> Iterator[str]:
    """Lay the primary endpoints out as Markdown."""
    places = [f"asked/{next(iter(ASKED))}/contrasts/{place}" for place in PRIMARY.values()]
    corrected = adjusted([numbers.p(place) for place in places], method="holm")
    yield "| primary endpoint | of | measured, points | n | outcome | p, Holm |"
    yield "|---|---|---|---|---|---|"
    for (name, place), p in zip(zip(PRIMARY, places, strict=True), corrected.tolist(), strict=True):
        for of, part in numbers.shown.items():
            number = part.at(place)
            told = "" if p != p else f"{p:.3f}"
            cells = (name, of, write_number(number, "points"), str(number["n"]), outcome(number), told)
            yield _row(cells)
    for name in LATER:
        yield f"| {name} | | not measured yet | | | |"


def arms_table(numbers: StudyNumbers) -> Iterator[str]:
    """Lay the arms out at equal steps as Markdown."""
    yield _row(ARM_HEADS)
    yield "|---" * len(ARM_HEADS) + "|"
    zero = next(iter(ASKED))
    for of, part in numbers.shown.items():
        for arm in part.below(f"asked/{zero}/arms"):
            places = [
                f"asked/{how}/arms/{arm}/{key}" for key in ("accuracy_known", "accuracy") for how in ASKED
            ]
            cells = [write_number(part.at(place), "%?") for place in places]
            mass = write_number(part.at(f"asked/{zero}/arms/{arm}/subject_attention"), "3?")
            yield _row((arm, of, _learned(numbers, arm, of), *cells, mass))


def predictors_table(numbers: StudyNumbers) -> Iterator[str]:
    """Lay the predictors of survival out as Markdown, for each half at equal steps."""
    yield _row(("arm", "of", *PREDICTED.values()))
    yield "|---" * (2 + len(PREDICTED)) + "|"
    for of, part in numbers.shown.items():
        for arm in ("top", "bottom"):
            held = part.part(f"asked/{next(iter(ASKED))}/arms/{arm}/survival")
            yield _row((arm, of, *(write_number(held.at(name), "2?") for name in PREDICTED)))


def _layers(records: Sequence[dict[str, Any]]) -> str:
    """Say where in the stack attention to the subject has moved from the base, on average over seeds."""
    told = []
    for arm in ("top", "bottom"):
        own, base = (
            np.mean([r["layers"][at]["attention"] for r in records if r["arm"] == name], axis=0)
            for name, at in ((arm, LAST), ("base", "base"))
        )
        moved = own - base
        most = np.argsort(-np.abs(moved))[:3]
        listed = ", ".join(f"{100 * moved[i]:+.1f} in layer {i}".replace("-", "−") for i in most)
        told.append(f"{arm} {100 * moved.mean():+.1f} points of mass on average ({listed})".replace("-", "−"))
    return (
        f"Attention to the subject against the base, at equal steps: {'; '.join(told)}. Layers count from 0."
    )


def exploratory_table(numbers: StudyNumbers) -> Iterator[str]:
    """Lay all other contrasts out as Markdown, corrected together from three seeds on."""
    found = [
        (pair, what, how, f"asked/{how}/contrasts/{pair}/{key}")
        for how in (*ASKED, *BEST)
        for pair in numbers.pooled.below(f"asked/{how}/contrasts")
        for key, what in MEASURES.items()
        if f"asked/{how}/contrasts/{pair}/{key}" in numbers.pooled
    ]
    primary = {f"asked/{next(iter(ASKED))}/contrasts/{place}" for place in PRIMARY.values()}
    found = [entry for entry in found if entry[3] not in primary]
    corrected = adjusted([numbers.p(entry[3]) for entry in found])
    yield "| contrast | on | asked | of | measured, points | outcome | p, BH |"
    yield "|---|---|---|---|---|---|---|"
    for (pair, what, how, place), p in zip(found, corrected.tolist(), strict=True):
        told = "" if p != p else f"{p:.3f}"
        for of, part in numbers.shown.items():
            number = part.at(place)
            decided = outcome(number) if p != p or p <= 0.05 else "inconclusive"
            asked = {**ASKED, **BEST}[how]
            cells = (
                pair.replace("_minus_", " − "),
                what,
                asked,
                of,
                write_number(number, "points"),
                decided,
                told,
            )
            yield _row(cells)


def study_figure(numbers: StudyNumbers) -> Any:
    """Draw the contrasts on specifically known facts at both checkpoints, with 0 and 4 examples."""
    series = []
    (of, part), *others = numbers.shown.items()
    for how, told in {**ASKED, **BEST}.items():
        for name, held in [(of, part), *others]:
            contrasts = held.below(f"asked/{how}/contrasts")
            y = [_points(one.at("accuracy_known")) for one in contrasts.values()]
            x = [pair.replace("_minus_", " − ") for pair in contrasts]
            series.append(Curve(label=f"{told}, {name}", x=x, y=y))
    return forest(series, x="difference on specifically known facts (points)", mark=0)


def cpu_hours(records: Sequence[dict[str, Any]]) -> float:
    """Add up the CPU time of the cells."""
    return sum(record["cpu_seconds"] for record in records) / 3600


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _points(number: Number) -> Number:
    return {k: 100 * v if k != "n" and v is not None else v for k, v in number.items()}


def _learned(numbers: StudyNumbers, arm: str, of: str) -> str:
    rows = numbers.rows[(numbers.rows["arm"] == arm) & (numbers.rows["checkpoint"] == LAST)]
    if of.startswith("seed "):
        rows = rows[rows["seed"] == int(of.split()[1])]
    shares = rows.drop_duplicates("seed")["training_accuracy"]
    return (
        " to ".join(dict.fromkeys(f"{100 * v:.0f}%" for v in (shares.min(), shares.max())))
        if len(rows)
        else ""
    )
