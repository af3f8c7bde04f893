"""One page for any experiment: its question, its finding in a sentence, tables, figures and how to repeat it.

The main job has a page of its own (:mod:`interp.report`); every other analysis says what it found as a
``Study`` and leaves the rest to this module. The style is the main page's, and so is the promise that the
page makes no network request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from finetune.facts import InputError
from finetune.files import atomic_file, read_json, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Outcome = Literal["supported", "not supported", "inconclusive", "measured"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Cell = str | float | int | None
NOT_MEASURED = "not measured"
CLAIMS = "claims.json"


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """A table of the page; numbers are set to the right, and a missing one says so."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r}: every row needs {len(self.columns)} cells")

    @property
    def right(self) -> tuple[bool, ...]:
        """Which columns hold numbers: those go to the right."""
        return tuple(all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns)))


@dataclass(frozen=True, kw_only=True)
class StudyFigure:
    """A figure of the page; ``name`` is its files' and ``caption`` says what it shows, for eyes and ears."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Something that numbers decide: what is claimed, who claims it, and the number that speaks to it.

    ``claim`` and ``source`` are worded before anything is measured; ``outcome`` is the number's, see
    :func:`decided`. ``unit``, ``digits`` and ``signed`` say how the number is written.
    """

    claim: str
    source: str
    number: dict[str, Any]
    outcome: Outcome
    unit: str = ""
    digits: int = 1
    signed: bool = True

    @property
    def measured(self) -> str:
        """The number with its interval and how many it is of."""
        if self.number["value"] is None:
            return NOT_MEASURED
        scale: Literal["", "%"] = "%" if self.unit in ("%", "points") else ""
        text = of(self.number, digits=self.digits, unit=scale, signed=self.signed)
        text = text.replace("%", "") + {"%": "%", "": ""}.get(self.unit, f" {self.unit}")
        return f"{text}, n = {self.number['n']}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What an analysis found. ``finding`` is made from the numbers, and ``outcome`` says what they decide."""

    title: str
    question: str
    finding: str
    outcome: Outcome
    tables: tuple[StudyTable, ...]
    claims: tuple[Claim, ...] = ()
    figures: tuple[StudyFigure, ...] = ()
    examples: tuple[StudyTable, ...] = ()
    notes: tuple[str, ...] = ()


def write_study(run: Path | str, study: Study) -> Path:
    """Write the figures and report.html into a run directory and return the page's path.

    Raises:
        InputError: the directory has no manifest.
    """
    from interp.style import save

    run = Path(run)
    manifest = run / "manifest.json"
    if not manifest.is_file():
        raise InputError(f"{run}: holds no manifest.json; name the directory of a run")
    for each in study.figures:
        save(each.figure, run / "figures" / each.name)
    write_claims(run, study.claims)
    path = run / "report.html"
    with atomic_file(path) as temporary:
        # A lone surrogate, from a token that is half a character, cannot be encoded.
        temporary.write_text(page(run.resolve().name, study, read_json(manifest)), "utf-8", "replace")
    return path


def write_claims(run: Path, claims: Sequence[Claim]) -> None:
    """Write what a run decides to its ``claims.json``; nothing where it decides nothing."""
    if claims:
        write_json(run / CLAIMS, [{**asdict(claim), "measured": claim.measured} for claim in claims])


def page(name: str, study: Study, manifest: dict[str, Any]) -> str:
    """Render a study as one HTML text."""
    from interp.report import environment, reasons
    from interp.style import inline_svg

    return (
        environment()
        .get_template("study.html.j2")
        .render(
            name=name,
            study=study,
            tables=(*((claims_table(study.claims),) if study.claims else ()), *study.tables),
            drawn={each.name: inline_svg(each.figure, each.name) for each in study.figures},
            manifest=manifest,
            left_out=reasons(manifest.get("left_out", ())),
            configuration=json.dumps(manifest.get("config"), indent=2, ensure_ascii=False),
            show=shown,
        )
    )


def headline(study: Study) -> Table:
    """Show the finding and the first table on a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(study.finding, "bold"), title_justify="left", box=SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    first = study.tables[0]
    for i, column in enumerate(first.columns):
        table.add_column(Text(column), justify="left" if i == 0 else "right")
    for row in first.rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table


def shown(cell: Cell) -> str:
    """Write a cell: thousands apart, floats to three digits, a missing number as a word."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return NOT_MEASURED
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell if isinstance(cell, str) else f"{cell:.3g}"


def _is_number(cell: Cell) -> bool:
    written = shown(cell)
    return written == NOT_MEASURED or written[:1] in "+−0123456789" or not written


def interval(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    digits: int = 1,
    unit: Literal["", "%"] = "",
    signed: bool = False,
) -> str:
    """Write a number with its interval, as ``81.5% (79.6 to 83.4)``; ``%`` also multiplies by 100."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    scale = 100 if unit == "%" else 1
    sign = "+" if signed else ""

    def written(number: float) -> str:
        return f"{scale * number:{sign}.{digits}f}".replace("-", "−")

    head = f"{written(value)}{unit}"
    if low is None or high is None or math.isnan(low):
        return head
    return f"{head} ({written(low)} to {written(high)})"


def of(number: dict[str, Any], **options: Any) -> str:
    """Write an entry of results.json with its interval; ``options`` are :func:`interval`'s."""
    return interval(number["value"], number["low"], number["high"], **options)


def decided(number: dict[str, Any], *, above: float = 0.0) -> Outcome:
    """Say whether a number is above a bound: supported, not supported, or inconclusive by its interval."""
    low, high = number["low"], number["high"]
    if number["value"] is None or low is None or high is None:
        return "inconclusive"
    return "supported" if low > above else "not supported" if high < above else "inconclusive"


def claimed(
    claim: str,
    source: str,
    number: dict[str, Any],
    *,
    above: float = 0.0,
    unit: str = "",
    digits: int = 1,
) -> Claim:
    """Let a number decide a claim that it lies above a bound; ``unit`` is ``%``, ``points`` or a word."""
    return Claim(
        claim=claim,
        source=source,
        number=number,
        outcome=decided(number, above=above),
        unit=unit,
        digits=digits,
        signed=above == 0 and unit != "%",
    )


def sentence(claims: Sequence[Claim]) -> str:
    """Say in one sentence what the first claim came to, and count the others' outcomes."""
    first, rest = claims[0], [claim.outcome for claim in claims[1:]]
    text = f"{first.outcome.capitalize()}: {first.claim} ({first.measured})"
    counts = [f"{rest.count(outcome)} {outcome}" for outcome in OUTCOMES if outcome in rest]
    return text + (f"; of {len(rest)} further claims {', '.join(counts)}." if rest else ".")


def claims_table(claims: Sequence[Claim]) -> StudyTable:
    """Lay claims out, a row each."""
    return StudyTable(
        title="Claims",
        columns=("Claim", "Source", "Measured", "Outcome"),
        rows=tuple((c.claim, c.source, c.measured, c.outcome) for c in claims),
        note="Worded before the measurement. Supported: the whole 95% interval lies on the claimed side; "
        "not supported: on the other; inconclusive: on both.",
    )
