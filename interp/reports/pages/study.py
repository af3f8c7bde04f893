"""A study: what an analysis found, as data of which one page is made for every experiment.

It is kept in the run directory as ``study.json`` and ``figures/``, from which the page can be made again
without the analysis. The main job's study is made of its results, a comparison's of several runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Outcome = Literal["supported", "not supported", "inconclusive", "not measured", "measured"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Cell = str | float | int | None
NOT_MEASURED: Final = "not measured"
CLAIMS, STUDY = "claims.json", "study.json"


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """A table of the page; numbers are set to the right, and a missing one says so.

    Without rows the note alone stands there. ``bold`` lists cells as (row, column).
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    bold: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r}: every row needs {len(self.columns)} cells")

    @property
    def right(self) -> tuple[bool, ...]:
        """Which columns hold numbers: those go to the right."""
        written = [[format_cell(cell) for cell in row] for row in self.rows]
        numbers = [[c in ("", NOT_MEASURED) or c[0] in "+-−0123456789" for c in row] for row in written]
        return tuple(all(row[i] for row in numbers) for i in range(len(self.columns)))


@dataclass(frozen=True, kw_only=True)
class StudyFigure:
    """A figure of the page; ``name`` is its files' and ``caption`` says what it shows, for eyes and ears.

    ``figure`` is None where it was drawn before and lies in the run directory. ``alternative`` is for ears
    alone. Figures that follow each other under one ``title`` stand side by side; ``missing`` says why there
    is no figure.
    """

    name: str
    figure: Figure | None
    caption: str
    title: str = ""
    alternative: str = ""
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Something that numbers decide: what is claimed, who claims it, and the number that speaks to it.

    ``claim`` and ``source`` are worded before anything is measured; ``outcome`` says whether the number lies
    ``above`` a bound (:func:`decide`). ``unit``, ``digits`` and ``signed`` say how it is written.
    """

    claim: str
    source: str
    number: dict[str, Any]
    outcome: Outcome
    unit: str = ""
    digits: int = 1
    signed: bool = True
    above: float = 0.0

    @property
    def measured(self) -> str:
        """The number with its interval and how many it is of."""
        if self.number["value"] is None:
            return NOT_MEASURED
        scale = "%" if self.unit in ("%", "points") else ""
        text = format_entry(self.number, digits=self.digits, unit=scale, signed=self.signed)
        text = text.replace("%", "") + {"%": "%", "": ""}.get(self.unit, f" {self.unit}")
        return f"{text}, n = {self.number['n']}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What an analysis found. ``finding`` is made from the numbers, and ``outcome`` says what they decide.

    ``answer`` goes on from the finding, sentence by sentence; ``definitions`` are terms and what they mean.
    ``elsewhere`` says which numbers are of other runs.
    """

    title: str
    question: str
    finding: str
    outcome: str
    tables: tuple[StudyTable, ...]
    claims: tuple[Claim, ...] = ()
    figures: tuple[StudyFigure, ...] = ()
    examples: tuple[StudyTable, ...] = ()
    notes: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    definitions: tuple[tuple[str, str], ...] = ()
    elsewhere: str = ""


def format_cell(cell: Cell) -> str:
    """Write a cell: thousands apart, floats to three digits, yes or no, a missing number as a word."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool | np.bool_):
        return "yes" if cell else "no"
    if cell is None or math.isnan(cell):
        return NOT_MEASURED
    whole = isinstance(cell, int | np.integer) or 1000 <= abs(cell) < 1e15
    return (f"{cell:,.0f}" if whole else f"{cell:.3g}").replace("-", "−")


def format_interval(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    digits: int = 1,
    unit: Literal["", "%"] = "",
    signed: bool = False,
) -> str:
    """Write a number with its interval, as ``81.5% (79.6 to 83.4)``.

    Args:
        value: the number; None was not measured.
        low: the interval's lower bound.
        high: its upper bound.
        digits: how many after the point.
        unit: ``%`` also multiplies by 100.
        signed: whether numbers bear their sign.
    """
    if value is None or math.isnan(value):
        return NOT_MEASURED
    how: dict[str, Any] = {"digits": digits, "percent": unit == "%", "signed": signed}
    head = f"{format_value(value, **how)}{unit}"
    if low is None or high is None or math.isnan(low):
        return head
    return f"{head} ({format_value(low, **how)} to {format_value(high, **how)})"


def format_value(value: float, *, digits: int, percent: bool, signed: bool) -> str:
    """Write one number without its unit; what rounds to zero has no sign: "+0.0" would look beyond it.

    Args:
        value: the number.
        digits: how many after the point.
        percent: whether it is multiplied by 100.
        signed: whether what is above zero bears its sign.
    """
    text = f"{(100 if percent else 1) * abs(value):.{digits}f}"
    if not float(text):
        return text
    return f"{'−' if value < 0 else '+' if signed else ''}{text}"


def format_entry(number: dict[str, Any], **options: Any) -> str:
    """Write an entry of results.json with its interval; ``options`` are :func:`format_interval`'s."""
    return format_interval(number["value"], number["low"], number["high"], **options)


def decide(number: dict[str, Any], *, above: float = 0.0) -> Outcome:
    """Say whether a number is above a bound, by its interval; a number without one is inconclusive."""
    low, high = number["low"], number["high"]
    if number["value"] is None:
        return NOT_MEASURED
    if low is None or high is None:
        return "inconclusive"
    return "supported" if low > above else "not supported" if high < above else "inconclusive"


def decide_claim(
    claim: str, source: str, number: dict[str, Any], *, above: float = 0.0, unit: str = "", digits: int = 1
) -> Claim:
    """Let a number decide a claim that it lies above a bound.

    Args:
        claim: what is claimed.
        source: who claims it.
        number: an entry of results.json.
        above: the bound.
        unit: ``%``, ``points`` or a word.
        digits: how many after the point.
    """
    written: dict[str, Any] = {
        "unit": unit,
        "digits": digits,
        "signed": above == 0 and unit != "%",
        "above": above,
    }
    return Claim(claim=claim, source=source, number=number, outcome=decide(number, above=above), **written)


def claim_sentence(claims: Sequence[Claim]) -> str:
    """Say in one sentence what the first claim came to, and count the others' outcomes."""
    first, rest = claims[0], [claim.outcome for claim in claims[1:]]
    text = f"{first.outcome.capitalize()}: {first.claim}"
    text += "" if first.outcome == NOT_MEASURED else f" ({first.measured})"
    counts = [f"{rest.count(outcome)} {outcome}" for outcome in OUTCOMES if outcome in rest]
    return text + (f"; of {len(rest)} further claims {', '.join(counts)}." if rest else ".")
