"""The report of a choice: what was kept and dropped, with examples, and what may be expected of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.experiments.selection_contest.setups import meaning, way_of
from analyses.experiments.which_data.expected_gains import measured_gains
from interp.reports.pages.study import Study, StudyTable, format_entry, format_interval
from interp.selection.scores import SCORES

if TYPE_CHECKING:
    from analyses.experiments.which_data.steps import ChosenFacts

MOST = 40  # rows of a table; what is beyond them is summed up
EXAMPLES = 8
NOT_YET = "This score has not been measured in the contest of scores (docs/which_data.md)."


def page(made: ChosenFacts, results: dict[str, Any]) -> Study:
    """Make the page of a choice."""
    score, way = SCORES[made.score], way_of(made.score, made.floor)
    tables = [_sides(made, results), _relations(results), _types(results)]
    if results["scores"]:
        tables.append(_others(made, results))
    if way in measured_gains():
        tables.append(_expected(way))
    return Study(
        title="Which data to train on",
        question=f"Which {100 * made.keep:g}% of {len(made.facts):,} facts should {_name(made.base)} be "
        "fine-tuned on?",
        finding=_finding(made, results),
        outcome="measured",
        tables=tuple(tables),
        examples=tuple(_examples(made)),
        notes=(
            f"Score {made.score}: {score.meaning}. It took {score.forwards:g} forward passes a fact.",
            *([] if way in measured_gains() else [NOT_YET]),
            *([] if not score.is_placebo else ["This score is a placebo: it knows nothing of the facts."]),
            *(f"Score {name} could not be used: {why}." for name, why in made.unavailable),
        ),
    )


def _name(base: str) -> str:
    """Name a base by its directory, or a hub id by itself."""
    return Path(base).name if Path(base).is_dir() else base


def _finding(made: ChosenFacts, results: dict[str, Any]) -> str:
    kept, dropped = (results["sides"][side]["score"]["value"] for side in ("kept", "dropped"))
    unit = SCORES[made.score].unit
    told = f"Kept {len(made.kept):,} of {len(made.facts):,} facts by {made.score} in {made.out}"
    if kept is not None and dropped is not None:
        told += f": the median score is {_number(kept)} of those kept and {_number(dropped)} of those dropped"
        told += f" ({unit})" if unit else ""
    aside = len(made.left_out)
    return (
        f"{told}; {aside:,} could not be used and {'is' if aside == 1 else 'are'} listed."
        if aside
        else f"{told}."
    )


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _sides(made: ChosenFacts, results: dict[str, Any]) -> StudyTable:
    sides = results["sides"]
    counts = {"kept": len(made.kept), "dropped": len(made.others), "all": len(made.facts)}
    popular = all("popularity" in side for side in sides.values())
    columns = ("Which", "Facts", "Relations", "Answer types", "Answers", f"Median {made.score}")
    return StudyTable(
        title="What was kept",
        columns=(*columns, *(["Median popularity"] if popular else [])),
        rows=tuple(
            (
                name,
                counts[name],
                *(int(side[f"{what}s"]["value"]) for what in ("relation", "answer_type", "answer")),
                format_entry(side["score"], digits=2),
                *([format_entry(side["popularity"], digits=0)] if popular else []),
            )
            for name, side in sides.items()
        ),
    )


def _relations(results: dict[str, Any]) -> StudyTable:
    return _coverage(
        "By relation",
        "Relation",
        results["relations"],
        lambda part: (int(part["answers_kept"]["value"]), int(part["answers"]["value"])),
        ("Answers kept", "of"),
    )


def _types(results: dict[str, Any]) -> StudyTable:
    return _coverage(
        "By relation and answer type",
        "Relation: answer type",
        results["answer_types"],
        lambda part: (),
        (),
        note="An answer that its relation has ten times or more is a type of its own; others go by shape.",
    )


def _coverage(
    title: str, first: str, groups: dict[str, Any], more: Any, columns: tuple[str, ...], note: str = ""
) -> StudyTable:
    ordered = sorted(groups.items(), key=lambda item: (-item[1]["share"]["n"], item[0]))
    rest = ordered[MOST:]
    rows = [
        (
            name,
            part["share"]["n"],
            round(part["share"]["value"] * part["share"]["n"]),
            f"{100 * part['share']['value']:.0f}%",
            _number(part["score"]["value"]) if part["score"]["value"] is not None else None,
            *more(part),
        )
        for name, part in ordered[:MOST]
    ]
    if rest:
        n = sum(part["share"]["n"] for _, part in rest)
        kept = round(sum(part["share"]["value"] * part["share"]["n"] for _, part in rest))
        blank = ("",) * (1 + len(columns))
        rows.append((f"{len(rest):,} others", n, kept, f"{100 * kept / n:.0f}%", *blank))
    return StudyTable(
        title=title,
        columns=(first, "Facts", "Kept", "Share", "Median score", *columns),
        rows=tuple(rows),
        note=note,
    )


def _others(made: ChosenFacts, results: dict[str, Any]) -> StudyTable:
    return StudyTable(
        title=f"How far other scores would keep the same facts as {made.score}",
        columns=("Score", "Meaning", "Kept by both, % of those kept", "Rank correlation"),
        rows=tuple(
            (
                name,
                SCORES[name].meaning,
                format_entry(part["shared"], unit="%"),
                format_entry(part["rank_correlation"], digits=2),
            )
            for name, part in results["scores"].items()
        ),
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
    columns = made.columns
    return [
        StudyTable(
            title=title,
            columns=("Question about", "Relation", "Answer", "Score", "Why"),
            rows=tuple(
                (
                    made.facts[i].subject,
                    made.facts[i].relation,
                    made.facts[i].answer,
                    columns["score"][i],
                    columns["reason"][i],
                )
                for i in some
            ),
        )
        for title, some in shown.items()
        if some
    ]
