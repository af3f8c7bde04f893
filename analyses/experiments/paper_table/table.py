"""The table of the paper: data set x model x arm x method, with intervals, from the rows of any runs.

Every number is computed within a seed and then pooled: over two or more seeds a t-interval over the seeds'
values, with one seed a bootstrap over subjects. Differences are paired by fact within a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import pandas as pd

from analyses.common.numbers import mean, paired_difference
from analyses.experiments.popularity_splits.cells import BASE
from analyses.experiments.popularity_splits.numbers import (
    METRICS,
    WHOLE,
    iterate_settings,
    select_rates_by_validation,
)
from finetune.common.errors import InputError
from finetune.common.markdown import escape_inline
from interp.reports.pages.results_tables import write_number
from interp.reports.pages.study import Cell, StudyTable, format_cell
from interp.stats import Estimate, over_seeds, overlap_of

PAIRS = (("top", "bottom"), ("top", WHOLE), ("top", "random"))
GROUPS = ("quartile", "relation", "known")
ALL, KNOWN = "all", "known"
ACCURACY, DIFFERENCES = "Accuracy of held-out facts", "Differences between arms on the same facts"
TITLES = (f"## {ACCURACY}", f"## {DIFFERENCES}")  # what a page of these tables begins with
FEW = 20  # facts below which a note says so
_ORDER = (BASE, "top", "bottom", "random", WHOLE)
_MEASURES = {"correct": "Right", "contains": "Contains", "choice_correct": "Choice"}
_KEYS = ["dataset", "model", "method", "fraction", "quantity"]


def numbers(frame: pd.DataFrame, *, by: str | None = None) -> pd.DataFrame:
    """Compute every arm's accuracy and every paired difference.

    Args:
        frame: rows of cells; of several learning rates the one that validated best counts.
        by: ``quartile``, ``relation`` or ``known``: within each value of it, instead of all and known facts.

    Returns:
        A row a number: dataset, model, method, fraction, quantity (``top`` or ``top − bottom``), kind
        (``arm`` or ``difference``), measure, facts (which), value, low, high, n (of what the interval is:
        seeds, or facts of the only seed), seeds, and asked (facts, all seeds together).

    Raises:
        InputError: an unknown ``by``, or one that the runs do not hold; runs of the base alone.
    """
    if by is not None and (by not in GROUPS or by not in frame or frame[by].isna().all()):
        held = ", ".join(name for name in GROUPS if name in frame) or "none"
        raise InputError(f"by = {by!r}: choose one of {', '.join(GROUPS)} that the runs hold ({held})")
    made = [
        {**_place(setting, name, kind), "measure": measure, "facts": part, **number}
        for setting, rows in iterate_settings(_one_base(select_rates(frame)))
        for part, some in _parts(rows, by)
        for measure in METRICS
        for name, kind, number in _of_rows(some, measure)
    ]
    if not made:
        arms = ", ".join(map(str, frame["arm"].unique()))
        raise InputError(f"no fine-tuned arm was asked (there is: {arms}); give runs with one")
    table = pd.DataFrame(made)
    return table.drop_duplicates([*_KEYS, "measure", "facts"]).reset_index(drop=True)


def accuracy(table: pd.DataFrame, *, by: str | None = None) -> StudyTable:
    """Lay the arms' accuracies out, a row each."""
    rows = table[table["kind"] == "arm"]
    title = f"{ACCURACY}{_told(by)}, %"
    return _laid(rows, title, ("Arm", "Seeds", "Facts"), "share", counts=_counts, note=_note(rows))


def differences(table: pd.DataFrame, *, by: str | None = None) -> StudyTable:
    """Lay the paired differences out, a row each."""
    rows = table[table["kind"] == "difference"]
    return _laid(rows, f"{DIFFERENCES}{_told(by)}, points", ("Difference",), "points")


def _laid(
    rows: pd.DataFrame,
    title: str,
    first: tuple[str, ...],
    how: str,
    *,
    counts: Callable[[pd.DataFrame], tuple[Cell, ...]] = lambda rows: (),
    note: str = "",
) -> StudyTable:
    """Lay numbers out: a row an arm or difference of a setting, a column a measure on some facts."""
    held = rows.drop_duplicates(["measure", "facts"])
    pairs = list(zip(held["measure"], held["facts"], strict=True))
    pairs.sort(key=lambda pair: METRICS.index(pair[0]))
    heads = (_MEASURES[m] if facts == ALL else f"{_MEASURES[m]}, {facts}" for m, facts in pairs)
    laid: list[tuple[Cell, ...]] = []
    for key, some in rows.groupby(_KEYS, sort=False):
        *place, fraction, quantity = cast("tuple[Any, ...]", key)
        share = "" if quantity == BASE else f"{100 * fraction:g}%"
        cells = (_cell(some, measure, facts, how) for measure, facts in pairs)
        laid.append((*place, share, quantity, *counts(some), *cells))
    columns = ("Data", "Model", "Method", "Share", *first, *heads)
    return StudyTable(title=title, columns=columns, rows=tuple(laid), note=note)


def markdown(tables: Sequence[StudyTable]) -> str:
    """Write tables as Markdown."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(map(escape_inline, cells)) + " |"

    parts = []
    for table in tables:
        rule = "|" + "|".join("---:" if right else "---" for right in table.right) + "|"
        rows = [line([format_cell(held) for held in row]) for row in table.rows]
        note = [escape_inline(table.note), ""] if table.note else []
        parts += [f"## {escape_inline(table.title)}", "", line(table.columns), rule, *rows, "", *note]
    return "\n".join(parts)


def select_rates(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the learning rate that validated best; runs that say nothing of validation have one each.

    Raises:
        InputError: several rates of one arm and seed, and nothing to choose by.
    """
    if "validation" in frame and frame["validation"].notna().any():
        trained = frame["validation"].notna()
        frame = pd.concat([frame[~trained], select_rates_by_validation(frame[trained])], ignore_index=True)
    cell = ["dataset", "model", "method", "arm", "fraction", "seed"]
    rates = frame[frame["arm"] != BASE].groupby(cell)["learning_rate"].nunique()
    if (rates > 1).any():
        dataset, model, method, arm, *_ = rates.index[rates > 1][0]
        raise InputError(
            f"{dataset}, {model}, {method}, {arm}: {rates.max()} learning rates and no validation to choose "
            "by; give the runs of one rate"
        )
    return frame


def _one_base(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep one base of each data set, model and seed, whichever method's run asked it."""
    base = frame[frame["arm"] == BASE]
    repeated = base.duplicated(["dataset", "model", "seed", "fact_id"])
    return frame.drop(index=base.index[repeated])


def _parts(rows: pd.DataFrame, by: str | None) -> Iterator[tuple[str, pd.DataFrame]]:
    if by is None:
        yield ALL, rows
        yield KNOWN, rows[rows["known"].fillna(False).astype(bool)]
        return
    for value in sorted(rows[by].dropna().unique(), reverse=by == "known"):
        name = {("known", True): "known", ("known", False): "unknown"}.get((by, value), str(value))
        yield f"q{value}" if by == "quartile" else name, rows[rows[by] == value]


def _of_rows(rows: pd.DataFrame, measure: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every arm's number and every difference, pooled over seeds; unmeasured ones are left out."""
    rows = rows.dropna(subset=[measure])
    seeds, overlap = [some for _, some in rows.groupby("seed")], overlap_of(rows)
    arms = sorted(rows["arm"].unique(), key=lambda arm: (_place_of(arm), arm))
    for arm in arms:
        own = [some[some["arm"] == arm] for some in seeds]
        own = [some for some in own if len(some)]
        pool = _pooled([mean(some, measure) for some in own], (0, 1), overlap)
        yield arm, "arm", {**pool, "asked": sum(map(len, own))}
    standard = {"top", "bottom"} <= set(arms)
    pairs = PAIRS if standard else [(arm, BASE) for arm in arms if arm != BASE]
    for a, b in pairs:
        both = [some for some in seeds if {a, b} <= set(some["arm"])]
        if both:
            found = [paired_difference(some, {"arm": a}, {"arm": b}, measure) for some in both]
            yield (
                f"{a} − {b}",
                "difference",
                {**_pooled(found, (-1, 1), overlap), "asked": sum(e.n for e in found)},
            )


def _pooled(estimates: Sequence[Estimate], bounds: tuple[float, float], overlap: float) -> dict[str, Any]:
    """Pool one number over seeds; ``n`` is what its interval is over."""
    number = estimates[0] if len(estimates) == 1 else over_seeds(estimates, bounds=bounds, overlap=overlap)
    return {**asdict(number), "seeds": len(estimates)}


def _place(setting: tuple[str, str, str, float], quantity: str, kind: str) -> dict[str, Any]:
    """Say where a number belongs: the base was not trained, and the whole set is no share of it."""
    dataset, model, method, fraction = setting
    base, whole = quantity == BASE, quantity == WHOLE
    return {
        "dataset": dataset,
        "model": model,
        "method": "none" if base else method,
        "fraction": 1.0 if base or whole else fraction,
        "quantity": quantity,
        "kind": kind,
    }


def _place_of(arm: str) -> int:
    return _ORDER.index(arm) if arm in _ORDER else len(_ORDER)


def _told(by: str | None) -> str:
    return "" if by is None else f", by {by}"


def _counts(rows: pd.DataFrame) -> tuple[int, int]:
    """Return the seeds, and the facts asked in one of them on average."""
    most = rows.sort_values("asked", kind="stable").iloc[-1]
    return int(most["seeds"]), round(most["asked"] / most["seeds"])


def _cell(rows: pd.DataFrame, measure: str, facts: str, how: str) -> str | None:
    found = rows[(rows["measure"] == measure) & (rows["facts"] == facts)]
    if not len(found):
        return None
    values = {name: found.iloc[0][name] for name in ("value", "low", "high")}
    number = {name: None if value is None or np.isnan(value) else value for name, value in values.items()}
    return f"{write_number(number, how)}, n = {int(found.iloc[0]['n'])}"


def _note(rows: pd.DataFrame) -> str:
    over = (
        "Over several seeds n counts seeds and the interval is Student's t, corrected where seeds split the "
        "same facts; with one seed n counts facts and "
    )
    few = rows[(rows["asked"] / rows["seeds"] < FEW)]
    names = dict.fromkeys(f"{row.dataset}, {row.quantity} ({row.facts})" for row in few.itertuples())
    told = f" Fewer than {FEW} facts a seed: {'; '.join(names)}." if names else ""
    return f"{over}the interval is a bootstrap over subjects.{told}"
