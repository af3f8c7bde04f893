"""The report of a choice: what was kept and dropped, with examples, and what may be expected of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analyses.experiments.selection_contest.setups import meaning, way_of
from analyses.experiments.which_data.advice import advice
from analyses.experiments.which_data.expected_gains import measured_gains
from analyses.experiments.which_data.steps import ChosenFacts
from interp.reports.pages.results_tables import Column, results_table
from interp.reports.pages.study import Cell, Study, StudyTable, format_interval
from interp.reports.read.results import Results
from interp.selection.scores import SCORES

MOST = 40  # rows of a table; what is beyond them is summed up
EXAMPLES = 8
_TYPES = "An answer that its relation has ten times or more is a type of its own; others go by shape."
NOT_YET = "This score has not been measured in the contest of scores (docs/which_data.md)."


def page(made: ChosenFacts, results: Results) -> Study:
    """Make the page of a choice."""
    options = made.options
    score, way = SCORES[made.score], way_of(made.score, options.floor)
    kept = {"Answers kept": "answers_kept", "of": "answers"}
    types = results.below("answer_types")
    tables = [
        _sides(made, results),
        _coverage("By relation", "Relation", results.below("relations"), kept),
        _coverage("By relation and answer type", "Relation: answer type", types, {}, _TYPES),
    ]
    if results.below("scores"):
        tables.append(_others(made, results))
    if way in measured_gains():
        tables.append(_expected(way))
    base = Path(options.base).name if Path(options.base).is_dir() else options.base
    return Study(
        title="Which data to train on",
        question=f"Which {100 * options.keep:g}% of {len(made.facts):,} facts should {base} be fine-tuned "
        "on?",
        finding="\n".join(advice(options, way, len(made.facts), results.at("known"))),
        answer=(_kept(made, results),),
        outcome="measured",
        tables=tuple(tables),
        examples=tuple(_examples(made)),
        notes=(
            f"Score {made.score}: {score.meaning}. It took {score.forwards:g} forward passes a fact.",
            *([] if way in measured_gains() else [NOT_YET]),
            *([] if not score.is_placebo else ["This score is a placebo: it knows nothing of the facts."]),
            *(f"Score {name} could not be used: {why}." for name, why in made.ready.unavailable),
        ),
    )


def _kept(made: ChosenFacts, results: Results) -> str:
    kept, dropped = (results.at(f"sides/{side}/score")["value"] for side in ("kept", "dropped"))
    unit = SCORES[made.score].unit
    told = f"{made.options.out} holds {len(made.kept):,} of {len(made.facts):,} facts, kept by {made.score}"
    if kept is not None and dropped is not None and not SCORES[made.score].is_placebo:
        told += f": the median score is {_number(kept)} of those kept and {_number(dropped)} of those dropped"
        told += f" ({unit})" if unit else ""
    aside = len(made.ready.left_out)
    return (
        f"{told}; {aside:,} could not be used and {'is' if aside == 1 else 'are'} listed."
        if aside
        else f"{told}."
    )


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _sides(made: ChosenFacts, results: Results) -> StudyTable:
    counts = {"kept": len(made.kept), "dropped": len(made.others), "all": len(made.facts)}
    sides = results.below("sides")
    popular = all("popularity" in side for side in sides.values())
    columns: dict[str, Column] = {
        "Relations": lambda side: int(side.at("relations")["value"]),
        "Answer types": lambda side: int(side.at("answer_types")["value"]),
        "Answers": lambda side: int(side.at("answers")["value"]),
        **({} if SCORES[made.score].is_placebo else {f"Median {made.score}": ("score", "2")}),
        **({"Median popularity": ("popularity", "0")} if popular else {}),
    }
    return results_table(
        "What was kept",
        ("Which", "Facts"),
        {(name, counts[name]): side for name, side in sides.items()},
        columns,
    )


def _coverage(
    title: str, first: str, groups: dict[str, Results], more: dict[str, str], note: str = ""
) -> StudyTable:
    """Say how much of every group was kept, the largest first; many small ones are summed up."""
    shares = {name: part.at("share") for name, part in groups.items()}
    order = sorted(shares, key=lambda name: (-shares[name]["n"], name))
    rows: list[tuple[Cell, ...]] = []
    for name in order[:MOST]:
        score = groups[name].at("score")["value"]
        n, share = shares[name]["n"], shares[name]["value"]
        counts = (int(groups[name].at(place)["value"]) for place in more.values())
        median = None if score is None else _number(score)
        rows.append((name, n, round(share * n), f"{100 * share:.0f}%", median, *counts))
    if rest := [shares[name] for name in order[MOST:]]:
        n, kept = sum(s["n"] for s in rest), round(sum(s["value"] * s["n"] for s in rest))
        blank = ("",) * (1 + len(more))
        rows.append((f"{len(rest):,} others", n, kept, f"{100 * kept / n:.0f}%", *blank))
    heads = (first, "Facts", "Kept", "Share", "Median score", *more)
    return StudyTable(title=title, columns=heads, rows=tuple(rows), note=note)


def _others(made: ChosenFacts, results: Results) -> StudyTable:
    return results_table(
        f"How far other scores would keep the same facts as {made.score}",
        ("Score", "Meaning"),
        {(name, SCORES[name].meaning): part for name, part in results.below("scores").items()},
        {"Kept by both, % of those kept": ("shared", "%"), "Rank correlation": ("rank_correlation", "2")},
        note="By chance, as large a share of those kept would be kept by both as of all.",
    )


def _expected(way: str) -> StudyTable:
    def written(number: tuple[float, float, float] | None) -> str:
        return "" if number is None else format_interval(*number, unit="%", signed=True).replace("%", "")

    return StudyTable(
        title=f"What may be expected: points of held-out accuracy that the half kept by {way} is ahead",
        columns=("Measured in", "of the popular half", "of all facts", "of a random half"),
        rows=tuple(
            (each.setting, written(each.popularity), written(each.whole), written(each.random))
            for each in measured_gains()[way]
        ),
        note=f"Kept by {meaning(way)}. Of small bases and of halves, over three trainings; nothing says that "
        "it holds of yours.",
    )


def _examples(made: ChosenFacts) -> list[StudyTable]:
    order = np.argsort(made.choice.rank)
    kept = [int(i) for i in order if made.choice.kept[i]]
    dropped = [int(i) for i in order if not made.choice.kept[i]]
    shown = {
        "Kept, the best": kept[:EXAMPLES],
        "Kept, the last": kept[-EXAMPLES:],
        "Dropped, the first": dropped[:EXAMPLES],
        "Dropped, the worst": dropped[-EXAMPLES:],
    }
    heads = ("Question about", "Relation", "Answer", "Score", "Why")
    scores, reasons = made.columns["score"], made.columns["reason"]

    def row(i: int) -> tuple[Cell, ...]:
        fact = made.facts[i]
        return fact.subject, fact.relation, fact.answer, scores[i], reasons[i]

    return [
        StudyTable(title=title, columns=heads, rows=tuple(map(row, some)))
        for title, some in shown.items()
        if some
    ]
