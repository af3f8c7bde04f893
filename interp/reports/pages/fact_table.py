"""The facts of a run as data for a page's table: a row a fact, and for every arm what it said of it.

Columns are arrays and words are written once, so that ten thousand facts stay near a megabyte. What an
analysis names in its own way (``said``, ``right``, ``base_knew``) is read under one name here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from finetune.common.errors import InputError
from interp.reports.read.fact_attention import BASE
from interp.reports.read.files import RULE
from interp.reports.read.run import NotMeasured, read_parquet

MOST_FACTS = 10_000
LONGEST = 80
KEY, ROW = ["seed", "fact_id"], ["seed", "arm", "fact_id"]
NAMES = {
    "said": "prediction",
    "right": "correct",
    "base_knew": "known",
    "model": "arm",
    "attention": "subject_attention",
}
_FILTER: dict[str, Any] = {"filter": True}


@dataclass(frozen=True)
class _Column:
    """A column of the page's table: ``source`` is the frame's; ``options`` are what the page makes of it."""

    key: str
    title: str
    kind: Literal["text", "said", "number", "flag"]
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    of_arms: bool = False


COLUMNS = (  # what a narrow screen shows first stands first
    _Column("subject", "Subject", "text", "subject"),
    _Column("relation", "Relation", "text", "relation", _FILTER),
    _Column("answer", "Answer", "text", "answer"),
    _Column("base", "base says", "said", "base_said"),
    _Column("said", "{arm} says", "said", "prediction", _FILTER, of_arms=True),
    _Column("verdict", "Verdict", "text", "verdict", _FILTER, of_arms=True),
    _Column("truth", "Truth", "text", "truth", _FILTER, of_arms=True),
    _Column("known", "Known", "flag", "known", _FILTER),
    _Column("popularity", "Popularity", "number", "popularity", {"digits": None}),
    _Column("quartile", "Quarter", "number", "quartile", {"digits": 0, "detail": True}),  # of a chosen fact
    _Column("mass", "Attention", "number", "subject_attention", {"digits": 3}, of_arms=True),
    _Column("change", "Against {reference}", "number", "change", {"digits": 3, "signed": True}, of_arms=True),
    _Column("recovered", "Recovered", "flag", "recovered", of_arms=True),
    _Column("seed", "Seed", "text", "several_seeds", _FILTER),
)
NEEDED = ("seed", "arm", "fact_id", "subject", "relation", "answer", "prediction")


@dataclass(frozen=True, kw_only=True)
class FactTable:
    """What the page's table shows: ``total`` facts, of which an even draw over popularity is in ``data``."""

    data: dict[str, Any]
    shown: int
    total: int
    arms: tuple[str, ...]
    has_verdicts: bool
    has_popularity: bool
    n_seeds: int


def fact_table(
    frame: pd.DataFrame, *, verdicts: pd.DataFrame | None = None, most: int = MOST_FACTS
) -> FactTable:
    """Arrange the facts of a run, the most popular first; the base stands beside every arm.

    Args:
        frame: a row per seed, arm and fact, as in facts.parquet.
        verdicts: rows of stored_or_suppressed for the same facts, whose verdicts are added.
        most: how many facts at most; of more, an even draw over popularity.

    Raises:
        NotMeasured: the rows are not one per seed, arm and fact, or do not say what was answered.
    """
    frame = _named(frame)
    if verdicts is not None:
        own = verdicts.drop_duplicates(ROW)[[*ROW, "verdict"]]
        frame = frame.drop(columns="verdict", errors="ignore")
        frame = frame.merge(own, "left", on=ROW)
    heads = frame.drop_duplicates(KEY)
    if "popularity" in heads:
        heads = heads.sort_values("popularity", ascending=False, kind="stable", na_position="last")
    chosen = np.unique(np.linspace(0, len(heads) - 1, min(most, len(heads))).round().astype(int))
    names = [str(arm) for arm in frame["arm"].drop_duplicates()]
    arms = tuple(arm for arm in names if arm != BASE) or tuple(names)
    rows = heads.iloc[chosen].set_index(KEY)
    by_arm = {arm: frame[frame["arm"] == arm].set_index(KEY).reindex(rows.index) for arm in names}
    rows, by_arm = _beside_base(rows, by_arm)
    seeds = rows.index.get_level_values("seed").astype(str)
    rows = rows.assign(several_seeds=seeds if heads["seed"].nunique() > 1 else None)
    columns = [made for each in COLUMNS if (made := _made(each, rows, {arm: by_arm[arm] for arm in arms}))]
    keys = {column["key"] for column in columns}
    return FactTable(
        data={
            "arms": arms,
            "ids": rows.index.get_level_values("fact_id").astype(str).tolist(),
            "seeds": seeds.tolist(),
            "columns": columns,
            "reference": _references(by_arm, arms),
        },
        shown=len(rows),
        total=len(heads),
        arms=arms,
        has_verdicts="verdict" in keys,
        has_popularity="popularity" in keys,
        n_seeds=heads["seed"].nunique(),
    )


def read_verdicts(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Read the verdicts of a run of stored_or_suppressed on the facts of ``frame``.

    Raises:
        InputError: the directory holds no verdicts, or those of other facts.
    """
    if not (path / "facts.parquet").is_file():
        raise InputError(f"--verdict-run {path}: holds no facts.parquet; {RULE}")
    verdicts = read_parquet(path / "facts.parquet")
    if not {*ROW, "answer", "verdict"} <= set(verdicts):
        raise InputError(f"--verdict-run {path}: holds no verdicts; name a run of stored_or_suppressed")
    key = [*ROW, "answer"]
    if not len(verdicts.merge(frame[key].drop_duplicates(), on=key)):
        raise InputError(f"--verdict-run {path}: judges other facts; name a run made with --run on this one")
    return verdicts


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    old = {name: new for name, new in NAMES.items() if name in frame and new not in frame}
    frame = frame.rename(columns=old)
    if "base_knew" in old:  # a share of forms: what is known is right in every one
        frame["known"] = frame["known"] == 1
    if missing := [name for name in NEEDED if name not in frame]:
        raise NotMeasured(f"The table of facts is left out: facts.parquet has no column {missing[0]!r}.")
    if frame.duplicated(ROW).any() or frame["arm"].isna().any():
        raise NotMeasured(
            "The table of facts is left out: this analysis asks each fact under several settings. "
            "Every answer is in facts.parquet."
        )
    return frame


def _beside_base(
    rows: pd.DataFrame, by_arm: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Add what the base said to the facts, and to every arm how much its attention differs."""
    base, changed = by_arm.get(BASE), {}
    for arm, part in by_arm.items():
        before = part.get("attention_other") if base is None else base.get("subject_attention")
        known = before is not None and "subject_attention" in part
        changed[arm] = part.assign(change=part["subject_attention"] - before) if known else part
    if base is None:
        return rows.drop(columns="correct", errors="ignore"), changed  # that of some arm
    return rows.assign(base_said=base["prediction"], correct=base.get("correct")), changed


def _made(column: _Column, rows: pd.DataFrame, by_arm: Mapping[str, pd.DataFrame]) -> dict[str, Any] | None:
    """Make a column as the page reads it; None where nothing was measured."""
    frames = by_arm if column.of_arms else {"": rows}
    if not any(column.source in frame and frame[column.source].notna().any() for frame in frames.values()):
        return None
    held = {arm: _values(column, frame) for arm, frame in frames.items()}
    shape = {"key": column.key, "title": column.title, "kind": column.kind, **column.options}
    return shape | ({"arms": held} if column.of_arms else held[""])


def _values(column: _Column, frame: pd.DataFrame) -> dict[str, Any]:
    values = frame.get(column.source, pd.Series(pd.NA, index=frame.index))
    if column.kind in ("number", "flag"):
        return {"values": _numbers(values)}
    codes, words = pd.factorize(values.astype("string"))
    held = {"words": [_cut(str(word)) for word in words], "values": codes.tolist()}
    if column.kind == "said":
        held["right"] = _numbers(frame.get("correct", pd.Series(pd.NA, index=frame.index)))
    return held


def _numbers(values: pd.Series) -> list[float | int | None]:
    """Write numbers to five digits, whole ones without a point, and what is missing as None."""
    numbers = values.astype("Float64")
    written = [None if v is pd.NA else float(f"{v:.5g}") for v in numbers]
    return [int(v) if v is not None and v.is_integer() else v for v in written]


def _references(by_arm: dict[str, pd.DataFrame], arms: Sequence[str]) -> dict[str, str]:
    """Name the model that each arm's attention is compared with."""
    others = {
        arm: str(found.iloc[0])
        for arm in arms
        if "other" in by_arm[arm] and len(found := by_arm[arm]["other"].dropna())
    }
    return {arm: others.get(arm, BASE) for arm in arms}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
