"""A study's tables as Markdown: primary endpoints, arms at equal steps, predictors, all other contrasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from analyses.experiments.findings.study_numbers import (
    QK_ABOVE_PLACEBO,
    STORED_ABOVE_CONTROLS,
    StudyNumbers,
    outcome,
)
from analyses.experiments.popularity_splits.cells import LAST
from interp.reports.pages.results_tables import write_number
from interp.reports.pages.study import NOT_MEASURED
from interp.reports.read.results import Number
from interp.stats import adjusted

ASKED = {f"{LAST}, 0 examples": "equal steps", f"{LAST}, 4 examples": "equal steps, 4 examples"}
BEST = {"best, 0 examples": "best on validation", "best, 4 examples": "best on validation, 4 examples"}
PRIMARY = {
    "1. accuracy, top − bottom, on specifically known facts": "top_minus_bottom/accuracy_known",
    "2. accuracy, top − whole, on specifically known facts": "top_minus_whole/accuracy_known",
    "3. attention to the subject, top − bottom": "top_minus_bottom/subject_attention",
}
OF_LOST = {
    "4. lost facts still stored, above controls": STORED_ABOVE_CONTROLS,
    "5. pathway share of {W_Q W_K}, above its placebo": QK_ABOVE_PLACEBO,
}
ARM_HEADS = (
    *("arm", "of", "own facts learned", "known, 0 examples", "known, 4 examples"),
    *("all, 0 examples", "all, 4 examples", "subject attention"),
)
PREDICTED = {
    "popularity": "popularity",
    "base_statement": "log p after the base's statements",
    "base_log_prob": "log p after its question",
    "base_invented": "log p after an invented name",
    "kl_from_base": "KL from the base",
}
AGREEMENT = {
    "lost": ("all: whether the unpopular half's model lost it", "kappa"),
    "stored": ("lost in both: whether it is stored in some degree", "kappa"),
    "stated": ("lost in both: in what share of the held-out forms it is stated", "rank correlation"),
}
MEASURES = {
    "accuracy_known": "specifically known facts",
    "accuracy_known_uncommon": "those of them whose answer is not the commonest",
    "accuracy_highly_known": "those that are HighlyKnown",
    "accuracy_known_unguessed": "those not guessed from the sound of the name",
    "accuracy": "all held-out facts",
    "accuracy_q1": "the most popular quarter",
    "accuracy_q2": "the second quarter",
    "accuracy_q3": "the third quarter",
    "accuracy_q4": "the least popular quarter",
    "subject_attention": "attention to the subject",
}


def primary_table(numbers: StudyNumbers) -> Iterator[str]:
    """Lay the primary endpoints out as Markdown, corrected together by Holm."""
    endpoints: dict[str, tuple[dict[str, Number], float]] = {}
    for name, key in PRIMARY.items():
        place = f"asked/{next(iter(ASKED))}/contrasts/{key}"
        endpoints[name] = {of: part.at(place) for of, part in numbers.shown.items()}, numbers.p(place)
    for name, key in OF_LOST.items():
        of_lost, p = numbers.of_lost(key)
        endpoints[name] = {of: asdict(number) for of, number in of_lost.items()}, p
    corrected = adjusted([p for _, p in endpoints.values()], method="holm").tolist()
    yield "| primary endpoint | of | measured, points | n | outcome | p, Holm |"
    yield "|---|---|---|---|---|---|"
    for (name, (found, _)), p in zip(endpoints.items(), corrected, strict=True):
        for of, number in found.items():
            decided = outcome(number) + (" (one training)" if of.startswith("seed ") else "")
            told = "" if p != p else f"{p:.3f}"
            yield _row((name, of, write_number(number, "points"), str(number["n"]), decided, told))
        if not found:
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


def agreement_table(numbers: StudyNumbers) -> Iterator[str]:
    """Lay out as Markdown how far the verdicts of two seeds agree about facts that both held out."""
    yield "| of known facts that two seeds held out | measure | agreement | facts of pairs |"
    yield "|---|---|---|---|"
    for key, (what, measure) in AGREEMENT.items():
        found = numbers.agreement[key]
        yield _row((what, measure, write_number(asdict(found), "2"), f"{found.n:,}"))


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
            stands = p <= 0.05 or outcome(number) in ("no difference", NOT_MEASURED)
            decided = outcome(number) if stands else "inconclusive"
            decided = decided if numbers.is_pooled else ""
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


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


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
