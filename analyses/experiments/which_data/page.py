"""The report of a choice: what was kept and dropped, with examples, and what may be expected of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analyses.experiments.selection_contest.setups import HALF, RANDOM, meaning, way_of
from analyses.experiments.which_data.advice import advice, settings_ahead
from analyses.experiments.which_data.expected_gains import measured_gains
from analyses.experiments.which_data.steps import ChosenFacts
from interp.reports.pages.results_tables import Column, results_table
from interp.reports.pages.study import Cell, Study, StudyTable, format_interval
from interp.reports.read.results import Results
from interp.selection.scores import SCORES

MOST = 40  # rows of a table; what is beyond them is summed up
EXAMPLES = 8
_TYPES = "An answer that its relation has ten times or more is a type of its own; others go by shape."
DRAWN = "The draw is random: it knows nothing of the facts, and says of none that it is better than another."
ELSEWHERE = "the table “What may be expected”, whose numbers are of other runs"
NOT_YET = "This score has not been measured in the contest of scores (docs/which_data.md)."


def page(made: ChosenFacts, results: Results) -> Study:
    """Make the page of a choice."""
    options = made.options
    score, way = SCORES[made.score], way_of(made.score, options.floor)
    kept = {"Answers kept": "answers_kept", "of": "answers"}
    types = results.below("answer_types")
    tables = [
        _sides(made, results),
        _coverage(made, "By relation", "Relation", results.below("relations"), kept),
        _coverage(made, "By relation and answer type", "Relation: answer type", types, {}, _TYPES),
    ]
    if results.below("scores"):
        tables.append(_others(made, results))
    if way in measured_gains():
        tables.append(_expected(way))
    base = Path(options.base).name if Path(options.base).is_dir() else options.base
    return Study(
        title="Which data to train on",
        question=f"Which of {len(made.facts):,} facts should {base} be fine-tuned on?",
        finding="\n".join(advice(options, way, len(made.facts), results.at("known"))),
        answer=(_kept(made, results),),
        outcome="measured",
        tables=tuple(tables),
        examples=tuple(_examples(made)),
        notes=(
            *(
                [f"Score {made.score}: {score.meaning}.{_cost(score.forwards)}"]
                if made.score != RANDOM
                else []
            ),
            *([] if way in measured_gains() else [NOT_YET]),
            *([DRAWN] if score.is_placebo else []),
            *(f"Score {name} could not be used: {why}." for name, why in made.ready.unavailable),
        ),
        elsewhere=ELSEWHERE if way in measured_gains() else "",
    )


def _cost(forwards: float) -> str:
    return f" It took {forwards:g} forward pass{'es' * (forwards != 1)} a fact." if forwards else ""


def _kept(made: ChosenFacts, results: Results) -> str:
    kept, dropped = (results.at(f"sides/{side}/score")["value"] for side in ("kept", "dropped"))
    out, n = made.options.out, len(made.facts)
    if len(made.kept) == n:
        told = f"{out} holds all {n:,} facts"
    else:
        told = f"{_if_fewer(made)}: {len(made.kept):,} of {n:,} facts, {_how(made)}"
    if kept is not None and dropped is not None and not SCORES[made.score].is_placebo:
        unit = SCORES[made.score].unit
        told += f"; the median score is {_number(kept)} of those kept and {_number(dropped)} of those dropped"
        told += f" ({unit})" if unit else ""
    aside = sum(not item.usable for item in made.ready.left_out)
    be = "is" if aside == 1 else "are"
    return f"{told}; {aside:,} could not be used and {be} listed." if aside else f"{told}."


def _if_fewer(made: ChosenFacts) -> str:
    """Introduce the chosen rows as what they are: advised, or only what fewer facts would be."""
    out, share = made.options.out, made.options.share
    ahead, *_ = settings_ahead(measured_gains().get(way_of(made.score, made.options.floor), ()))
    part = "a half" if share == HALF else f"{100 * share:g}%"
    return (
        f"{out} holds {part}"
        if ahead
        else f"Should you have to train on fewer, {out} is what {part} would be"
    )


def _how(made: ChosenFacts) -> str:
    how = "drawn at random" if SCORES[made.score].is_placebo else f"the best by {made.score}"
    return f"{how}, every relation and answer type at its own share" if made.options.floor == 1 else how


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
        f"What {made.options.out.name} holds, and what it leaves out",
        ("Which", "Facts"),
        {(name, counts[name]): side for name, side in sides.items()},
        columns,
    )


def _coverage(
    made: ChosenFacts,
    title: str,
    first: str,
    groups: dict[str, Results],
    more: dict[str, str],
    note: str = "",
) -> StudyTable:
    """Say how much of every group was kept, the largest first; many small ones are summed up."""
    shares = {name: part.at("share") for name, part in groups.items()}
    order = sorted(shares, key=lambda name: (-shares[name]["n"], name))
    scored = () if SCORES[made.score].is_placebo else ("Median score",)
    rows: list[tuple[Cell, ...]] = []
    for name in order[:MOST]:
        score = groups[name].at("score")["value"]
        n, share = shares[name]["n"], shares[name]["value"]
        counts = (int(groups[name].at(place)["value"]) for place in more.values())
        medians = (None if score is None else _number(score) for _ in scored)
        rows.append((name, n, round(share * n), f"{100 * share:.0f}%", *medians, *counts))
    if rest := [shares[name] for name in order[MOST:]]:
        n, kept = sum(s["n"] for s in rest), round(sum(s["value"] * s["n"] for s in rest))
        blank = ("",) * (len(scored) + len(more))
        rows.append((f"{len(rest):,} others", n, kept, f"{100 * kept / n:.0f}%", *blank))
    heads = (first, "Facts", "Kept", "Share", *scored, *more)
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

    gains = measured_gains()[way]
    against = {"popularity": "of the popular half", "whole": "of all facts", "random": "of a random half"}
    shown = {name: head for name, head in against.items() if any(getattr(each, name) for each in gains)}
    half = "a half drawn at random" if way == RANDOM else f"the half kept by {way}"
    kept = "" if way == RANDOM else f"Kept by {meaning(way)}. "
    return StudyTable(
        title=f"What may be expected: points of held-out accuracy that {half} is ahead",
        columns=("Measured in", *shown.values()),
        rows=tuple((each.setting, *(written(getattr(each, name)) for name in shown)) for each in gains),
        note=f"{kept}Of other runs, on small bases and halves, over three trainings (docs/which_data.md); "
        "nothing says that it holds of yours.",
    )


def _examples(made: ChosenFacts) -> list[StudyTable]:
    """Show facts from both ends of the choice; a draw has no ends, so that some of each side are shown."""
    drawn = SCORES[made.score].is_placebo
    order = np.arange(len(made.facts)) if drawn else np.argsort(made.choice.rank)
    kept = [int(i) for i in order if made.choice.kept[i]]
    dropped = [int(i) for i in order if not made.choice.kept[i]]
    shown = {
        "Kept, the best": kept[:EXAMPLES],
        "Kept, the last": kept[-EXAMPLES:],
        "Dropped, the first": dropped[:EXAMPLES],
        "Dropped, the worst": dropped[-EXAMPLES:],
    }
    if drawn:
        shown = {"Drawn, some": kept[:EXAMPLES], "Not drawn, some": dropped[:EXAMPLES]}
    heads = ("Question about", "Relation", "Answer", *(() if drawn else ("Score", "Why")))
    found = zip(made.columns["score"], made.columns["reason"], strict=True)
    why: list[tuple[Cell, ...]] = [() if drawn else each for each in found]

    def row(i: int) -> tuple[Cell, ...]:
        fact = made.facts[i]
        return fact.subject, fact.relation, fact.answer, *why[i]

    return [
        StudyTable(title=title, columns=heads, rows=tuple(map(row, some)))
        for title, some in shown.items()
        if some
    ]
