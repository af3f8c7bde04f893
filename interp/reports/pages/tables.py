"""What the page and the terminal tabulate: headline numbers, contrasts, and the heads that moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.common.errors import InputError
from finetune.common.files import read_json
from interp.reports.pages import sentences as wording
from interp.reports.read.run import RULE, MeasuredEstimate, Run

KINDS: tuple[wording.Kind, ...] = ("accuracy", "accuracy_known", "subject_attention")
TITLES = ("Accuracy, all test facts", "Accuracy, known to the base", "Subject-attention mass")
# Accuracy that the relation's commonest answer cannot explain, and how often an arm gives one answer only.
SPECIFIC: Mapping[wording.Kind, tuple[str, str]] = {
    "accuracy_uncommon_known": ("Accuracy, known, answer not the commonest", "%"),
    "modal_share": ("Share of the modal answer", "%"),
    "answer_information": ("Information on the right answer", "bits"),
}


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One number of a table, as written; ``settled`` if it is a contrast whose interval excludes zero."""

    value: str = "not measured"
    bounds: str = ""
    n: int = 0
    settled: bool = False


def _cell(measured: MeasuredEstimate | None, kind: wording.Kind, *, contrast: bool = False) -> TableCell:
    if measured is None:
        return TableCell()
    return TableCell(
        value=wording.format_number(measured.value, kind, signed=contrast),
        bounds=wording.format_interval(measured, kind, signed=contrast),
        n=measured.n,
        settled=contrast and bool(measured.direction),
    )


@dataclass(frozen=True, kw_only=True)
class NumberTable:
    """A table of numbers: rows of a name and one cell a column; ``shared_n`` where a column has one n."""

    titles: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[str, tuple[TableCell, ...]], ...]

    @property
    def shared_n(self) -> tuple[int | None, ...]:
        """The n of each column where all of its cells agree, else None."""
        found = [{cells[i].n for _, cells in self.rows if cells[i].n} for i in range(len(self.titles))]
        return tuple(min(ns) if len(ns) == 1 else None for ns in found)


def headline_numbers(run: Run) -> NumberTable:
    """Arrange the arms' accuracy and attention, one row an arm."""
    rows = tuple((arm, tuple(_cell(run.number("arms", arm, k), k) for k in KINDS)) for arm in run.arms)
    return NumberTable(titles=TITLES, units=("%", "%", "0 to 1"), rows=rows)


def specific_numbers(run: Run) -> NumberTable | None:
    """Arrange how specific the arms' answers are, one row an arm; None where the run did not measure it."""
    if not any(run.number("arms", arm, "modal_share") for arm in run.arms):
        return None
    kinds = tuple(SPECIFIC)
    rows = tuple((arm, tuple(_cell(run.number("arms", arm, k), k) for k in kinds)) for arm in run.arms)
    titles, units = zip(*SPECIFIC.values(), strict=True)
    return NumberTable(titles=titles, units=units, rows=rows)


def contrast_numbers(run: Run) -> NumberTable:
    """Arrange the paired differences, one row a contrast; accuracy in points."""
    rows = tuple(
        (
            f" {wording.MINUS} ".join(name.rsplit("_minus_", 1)),
            tuple(_cell(run.number("contrasts", name, k), k, contrast=True) for k in KINDS),
        )
        for name in run.contrasts
    )
    return NumberTable(titles=TITLES, units=("points", "points", "difference"), rows=rows)


@dataclass(frozen=True, kw_only=True)
class MovedHead:
    """One head's change of subject attention, as the page words it."""

    name: str
    before: str
    after: str
    change: str
    bounds: str
    p: str
    passes: bool
    n: int


def moved_heads(run: Run, most: int = 10) -> tuple[MovedHead, ...]:
    """List the heads that moved most, from heads.json; empty where the run has none.

    Raises:
        InputError: heads.json is malformed.
    """
    path = run.path / "heads.json"
    if not path.is_file():
        return ()
    try:
        return tuple(_moved(head) for head in (read_json(path) or ())[:most])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is not laid out as expected ({error!r}); {RULE}") from None


def _moved(head: Mapping[str, Any]) -> MovedHead:
    change, low, high = (
        wording.format_number(head[key], "subject_attention", signed=True)
        for key in ("change", "low", "high")
    )
    return MovedHead(
        name=f"L{head['layer']} H{head['head']}",
        before=head["before"],
        after=head["after"],
        change=change,
        bounds=f"{low} to {high}",
        p=f"{head['corrected']:.2g}",
        passes=head["corrected"] < 0.05,
        n=head["n"],
    )
