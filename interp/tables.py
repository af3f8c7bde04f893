"""What the page and the terminal tabulate: headline numbers, contrasts, and the facts one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.facts import InputError
from finetune.files import read_json
from interp import wording
from interp.run import BASE, RULE, Measured, Run

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 500
LONGEST = 60
KINDS: tuple[wording.Kind, ...] = ("accuracy", "accuracy_known", "subject_attention")
TITLES = ("Accuracy, all test facts", "Accuracy, known to the base", "Subject-attention mass")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a table, as written; ``settled`` if it is a contrast whose interval excludes zero."""

    value: str = "not measured"
    bounds: str = ""
    n: int = 0
    settled: bool = False


def _cell(measured: Measured | None, kind: wording.Kind, *, contrast: bool = False) -> Cell:
    if measured is None:
        return Cell()
    return Cell(
        value=wording.number(measured.value, kind, signed=contrast),
        bounds=wording.bounds(measured, kind, signed=contrast),
        n=measured.n,
        settled=contrast and bool(measured.direction),
    )


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A table of numbers: rows of a name and one cell a column; ``shared_n`` where a column has one n."""

    titles: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]

    @property
    def shared_n(self) -> tuple[int | None, ...]:
        """The n of each column where all of its cells agree, else None."""
        found = [{cells[i].n for _, cells in self.rows if cells[i].n} for i in range(len(self.titles))]
        return tuple(min(ns) if len(ns) == 1 else None for ns in found)


def headline(run: Run) -> Numbers:
    """Arrange the arms' accuracy and attention, one row an arm."""
    rows = tuple((arm, tuple(_cell(run.number("arms", arm, k), k) for k in KINDS)) for arm in run.arms)
    return Numbers(titles=TITLES, units=("%", "%", "0 to 1"), rows=rows)


def contrasts(run: Run) -> Numbers:
    """Arrange the paired differences, one row a contrast; accuracy in points."""
    rows = tuple(
        (
            f" {wording.MINUS} ".join(name.rsplit("_minus_", 1)),
            tuple(_cell(run.number("contrasts", name, k), k, contrast=True) for k in KINDS),
        )
        for name in run.contrasts
    )
    return Numbers(titles=TITLES, units=("points", "points", "difference"), rows=rows)


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
        wording.number(head[key], "subject_attention", signed=True) for key in ("change", "low", "high")
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


@dataclass(frozen=True, kw_only=True)
class Said:
    """One arm's answer to a fact."""

    text: str
    correct: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fact; what was not measured is None."""

    subject: str
    relation: str
    answer: str
    popularity: float | None
    quartile: int | None
    known: bool | None
    said: tuple[Said | None, ...]
    change: float | None
    recovered: bool | None


@dataclass(frozen=True, kw_only=True)
class FactTable:
    """Rows of one seed; ``total`` facts stand behind them, of which an even draw over popularity is shown."""

    arms: tuple[str, ...]
    rows: tuple[Row, ...]
    total: int
    seed: str
    change: str
    has_popularity: bool
    has_recovery: bool


def fact_table(run: Run, *, most: int = MOST_ROWS) -> FactTable:
    """Choose and arrange the facts of the first seed, the most popular first."""
    import numpy as np

    facts = run.facts
    first_seed = facts["seed"].iloc[0] if len(facts) else 0
    facts = facts[facts["seed"] == first_seed].drop_duplicates(["fact_id", "arm"])
    by_arm = {arm: facts[facts["arm"] == arm].set_index("fact_id") for arm in run.arms}
    heads = facts.drop_duplicates("fact_id")
    if "popularity" in heads:
        heads = heads.sort_values("popularity", ascending=False, kind="stable", na_position="last")
    chosen = np.unique(np.linspace(0, len(heads) - 1, min(most, len(heads))).round().astype(int))
    first, second = _contrasted(run)
    rows = tuple(_row(head, by_arm, first, second) for head in heads.iloc[chosen].to_dict("records"))
    return FactTable(
        arms=run.arms,
        rows=rows,
        total=len(heads),
        seed=str(first_seed),
        change=f"{first} \u2212 {second}" if first else "",
        has_popularity=any(row.popularity is not None for row in rows),
        has_recovery=any(row.recovered is not None for row in rows),
    )


def _contrasted(run: Run) -> tuple[str, str]:
    """Choose the pair of arms whose change of attention the table shows."""
    if run.halves:
        return "top", "bottom"
    others = [arm for arm in run.arms if arm != BASE]
    return (others[0], BASE) if others and BASE in run.arms else ("", "")


def _row(head: Mapping[Any, Any], by_arm: dict[str, pd.DataFrame], first: str, second: str) -> Row:
    import pandas as pd

    def of(arm: str, column: str) -> Any:
        frame = by_arm.get(arm)
        if frame is None or column not in frame or head["fact_id"] not in frame.index:
            return None
        value: Any = frame.at[head["fact_id"], column]
        return None if pd.isna(value) else value

    masses = [of(arm, "subject_attention") for arm in (first, second)]
    measured = [float(str(m)) for m in masses if m is not None]
    popularity, quartile, known = (head.get(c) for c in ("popularity", "quartile", "known"))
    recovered = of("bottom", "recovered")
    return Row(
        subject=_cut(head["subject"]),
        relation=_cut(head["relation"]),
        answer=_cut(head["answer"]),
        popularity=None if pd.isna(popularity) else float(popularity),
        quartile=None if pd.isna(quartile) else int(quartile),
        known=None if pd.isna(known) else bool(known),
        said=tuple(
            None
            if (text := of(arm, "prediction")) is None
            else Said(text=_cut(text), correct=bool(of(arm, "correct")))
            for arm in by_arm
        ),
        change=measured[0] - measured[1] if len(measured) == 2 else None,
        recovered=None if recovered is None else bool(recovered),
    )


def _cut(text: object) -> str:
    text = str(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
