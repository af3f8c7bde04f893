"""Tables, claims and curves from a selection of a run's numbers: what pages of experiments are made of.

How a number is written is said in a word: ``%``, ``share`` for the same without the letter, or a number of
digits (``2``); ``+%``, ``points`` and ``+2`` show the number's sign. A ``?`` behind it leaves the cell of a
number that the results do not have empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from interp.reports.figures.curves import Curve
from interp.reports.pages.study import (
    Cell,
    Claim,
    Outcome,
    Study,
    StudyTable,
    claim_sentence,
    decide_claim,
    format_entry,
)
from interp.reports.read.results import NONE, Number, Results

Column = tuple[str, str] | Callable[[Results], Cell]  # a place and how to write it, or what to make of a row
UNDECIDED: tuple[str, Outcome] = ("Nothing is decided: arms to compare are missing.", "not measured")
FEWEST_OF_A_SHARE = 5  # below it a percentage says more than the facts do
Wording = tuple[str, str, str, str] | tuple[str, str, str, str, float]


def write_number(number: Number, how: str) -> str:
    """Write a number with its interval, see the module on ``how``."""
    word = how.removesuffix("?")
    if number is NONE and word != how:
        return ""
    bare = {"points": "+%", "share": "%"}.get(word, word)
    signed, kind = bare.startswith("+"), bare.removeprefix("+")
    unit: Literal["", "%"] = "%" if kind == "%" else ""
    text = format_entry(number, unit=unit, signed=signed, digits=1 if unit else int(kind))
    return text if bare == word else text.replace("%", "")


def write_share_of(number: Number, what: str, *, one_training: bool) -> str:
    """Write a share of some facts with its interval, or as counts where they are too few for one.

    Args:
        number: the share; its ``n`` counts facts where there is one training, else trainings.
        what: the facts, as ``lost facts``.
        one_training: whether there is one.
    """
    value, n = number["value"], number["n"]
    if value is None or not one_training or (number["low"] is not None and n >= FEWEST_OF_A_SHARE):
        return f"{write_number(number, '%')} of the {what}"
    return f"{round(value * n)} of {n:,} {what}"


def results_table(
    title: str,
    first: str | tuple[str, ...],
    rows: Mapping[Any, Results] | Iterable[tuple[Any, Results]],
    columns: Mapping[str, Column] | Iterable[tuple[str, Column]],
    *,
    note: str = "",
) -> StudyTable:
    """Lay numbers out, a row for each selection of them.

    Args:
        title: the table's.
        first: headings of the columns that name rows.
        rows: what each row is called, one cell or several, and the numbers that it shows.
        columns: by heading, where a number lies below a row's place, and how it is written.
        note: below the table.
    """
    shown = list(columns.items() if isinstance(columns, Mapping) else columns)
    laid = []
    for label, part in rows.items() if isinstance(rows, Mapping) else rows:
        names = label if isinstance(label, tuple) else (label,)
        laid.append((*names, *(_cell(part, column) for _, column in shown)))
    heads = (*((first,) if isinstance(first, str) else first), *(name for name, _ in shown))
    return StudyTable(title=title, columns=heads, rows=tuple(laid), note=note)


def _cell(part: Results, column: Column) -> Cell:
    return column(part) if callable(column) else write_number(part.at(column[0]), column[1])


def decide_each(results: Results, wordings: Iterable[Wording]) -> tuple[Claim, ...]:
    """Let numbers decide claims, each said as claim, source, the number's place, and its unit and digits.

    A fifth entry is the bound that the number is claimed to lie above (0); units are those of
    :func:`decide_claim`, digits follow them (1).
    """
    return tuple(
        decide_worded(results.at(place), claim, source, how, *above)
        for claim, source, place, how, *above in wordings
    )


def decide_worded(number: Number, claim: str, source: str, how: str, above: float = 0.0) -> Claim:
    """Let one number decide a claim.

    Args:
        number: an entry of results.json.
        claim: what is claimed of it.
        source: who claims it.
        how: its unit, with the digits behind it unless there is one.
        above: the bound that it is claimed to exceed.
    """
    unit, _, digits = how.rpartition(" ") if how[-1].isdigit() else (how, "", "1")
    return decide_claim(claim, source, number, above=above, unit=unit, digits=int(digits))


def decided_study(
    *,
    title: str,
    question: str,
    claims: tuple[Claim, ...],
    otherwise: tuple[str, Outcome] = UNDECIDED,
    **parts: Any,
) -> Study:
    """Make the page of an experiment that its first claim decides; ``otherwise`` serves where there is none.

    Args:
        title: the page's.
        question: what was asked.
        claims: what the numbers decide.
        otherwise: finding and outcome of a run that decides nothing.
        parts: the other fields of :class:`Study`.
    """
    finding, outcome = (claim_sentence(claims), claims[0].outcome) if claims else otherwise
    return Study(title=title, question=question, finding=finding, outcome=outcome, claims=claims, **parts)


def curve(label: str, parts: Mapping[Any, Results], place: str) -> Curve:
    """Take the same number of several parts as a curve over them."""
    return Curve(label=label, x=list(parts), y=[part.at(place) for part in parts.values()])
