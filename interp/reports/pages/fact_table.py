"""The facts of a run as data for a page's table: a row a fact, and for every arm what it said of it.

Columns are arrays and words are written once, so that ten thousand facts stay near a megabyte. What an
analysis names in its own way (``said``, ``right``, ``base_knew``) is read under one name here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from finetune.common.errors import InputError
from interp.reports.read.run import BASE, RULE, NotMeasured

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
_DETAIL: dict[str, Any] = {"detail": True}  # shown of a chosen fact only
ORDER = (  # what a narrow screen shows first
    *("subject", "relation", "answer", "base", "said", "verdict", "truth", "known", "popularity", "quartile"),
    *("mass", "change", "recovered", "seed"),
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
        own = verdicts.drop_duplicates(ROW)[[*ROW, "verdict", "strength"]]
        frame = frame.drop(columns=["verdict", "strength"], errors="ignore")
        frame = frame.merge(own, "left", on=ROW)
    heads = frame.drop_duplicates(KEY)
    if "popularity" in heads:
        heads = heads.sort_values("popularity", ascending=False, kind="stable", na_position="last")
    chosen = np.unique(np.linspace(0, len(heads) - 1, min(most, len(heads))).round().astype(int))
    names = [str(arm) for arm in frame["arm"].drop_duplicates()]
    arms = tuple(arm for arm in names if arm != BASE) or tuple(names)
    rows = heads.iloc[chosen].set_index(KEY)
    by_arm = {arm: frame[frame["arm"] == arm].set_index(KEY).reindex(rows.index) for arm in names}
    columns = [*_of_facts(rows, by_arm.get(BASE)), *_of_arms(rows, by_arm, arms)]
    columns.sort(key=lambda column: ORDER.index(column["key"]))
    return FactTable(
        data={
            "arms": arms,
            "ids": rows.index.get_level_values("fact_id").astype(str).tolist(),
            "seeds": rows.index.get_level_values("seed").astype(str).tolist(),
            "columns": columns,
            "reference": _references(by_arm, arms),
        },
        shown=len(rows),
        total=len(heads),
        arms=arms,
        has_verdicts=any(column["key"] == "verdict" for column in columns),
        has_popularity=any(column["key"] == "popularity" for column in columns),
        n_seeds=heads["seed"].nunique(),
    )


def read_verdicts(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Read the verdicts of a run of stored_or_suppressed on the facts of ``frame``.

    Raises:
        InputError: the directory holds no verdicts, or those of other facts.
    """
    file = path / "facts.parquet"
    if not file.is_file():
        raise InputError(f"--verdicts {path}: holds no facts.parquet; {RULE}")
    verdicts = pd.read_parquet(file)
    if not {*ROW, "answer", "verdict", "strength"} <= set(verdicts):
        raise InputError(f"--verdicts {path}: holds no verdicts; name a run of stored_or_suppressed")
    key = [*ROW, "answer"]
    if not len(verdicts.merge(frame[key].drop_duplicates(), on=key)):
        raise InputError(f"--verdicts {path}: judges other facts; name a run made with --run on this one")
    return verdicts


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    old = {name: new for name, new in NAMES.items() if name in frame and new not in frame}
    frame = frame.rename(columns=old)
    if missing := [name for name in NEEDED if name not in frame]:
        raise NotMeasured(f"The table of facts is left out: facts.parquet has no column {missing[0]!r}.")
    if frame.duplicated(ROW).any() or frame["arm"].isna().any():
        raise NotMeasured(
            "The table of facts is left out: this analysis asks each fact under several settings. "
            "Every answer is in facts.parquet."
        )
    return frame


def _of_facts(rows: pd.DataFrame, base: pd.DataFrame | None) -> list[dict[str, Any]]:
    columns = [
        _words("subject", "Subject", rows["subject"]),
        _words("relation", "Relation", rows["relation"]) | _FILTER,
        _words("answer", "Answer", rows["answer"]),
    ]
    if rows.index.get_level_values("seed").nunique() > 1:
        columns.append(_words("seed", "Seed", rows.index.get_level_values("seed").to_series()) | _FILTER)
    if "popularity" in rows and rows["popularity"].notna().any():
        columns.append(_numbers("popularity", "Popularity", rows["popularity"], digits=None))
    if "quartile" in rows and rows["quartile"].notna().any():
        columns.append(_numbers("quartile", "Quarter", rows["quartile"], digits=0) | _DETAIL)
    if "known" in rows:
        columns.append(_flags("known", "Known", rows["known"]) | _FILTER)
    if base is not None:
        columns.append(_said("base", "base says", base))
    elif "base_said" in rows:
        columns.append(_words("base", "base says", rows["base_said"]))
    return columns


def _of_arms(
    rows: pd.DataFrame, by_arm: dict[str, pd.DataFrame], arms: Sequence[str]
) -> list[dict[str, Any]]:
    def each(make: Any, *, needs: str) -> dict[str, Any] | None:
        """Make a column of every arm's own; None where no arm has a value in it."""
        if not any(needs in by_arm[arm] and by_arm[arm][needs].notna().any() for arm in arms):
            return None
        made = {arm: make(by_arm[arm]) for arm in arms}
        shape = {k: v for k, v in made[arms[0]].items() if k not in ("words", "values", "right")}
        return shape | {"arms": {a: {k: v for k, v in m.items() if k not in shape} for a, m in made.items()}}

    made = (
        each(lambda f: _said("said", "{arm} says", f) | _FILTER, needs="prediction"),
        each(lambda f: _words("verdict", "Verdict", _get(f, "verdict")) | _FILTER, needs="verdict"),
        each(lambda f: _words("truth", "Truth", _get(f, "truth")) | _FILTER, needs="truth"),
        each(
            lambda f: _numbers("mass", "Attention", _get(f, "subject_attention")),
            needs="subject_attention",
        ),
        each(lambda f: _change(f, by_arm.get(BASE)), needs="subject_attention")
        if BASE in by_arm or "attention_other" in rows
        else None,
        each(lambda f: _flags("recovered", "Recovered", _get(f, "recovered")), needs="recovered"),
    )
    return [column for column in made if column]


def _change(frame: pd.DataFrame, base: pd.DataFrame | None) -> dict[str, Any]:
    before = base["subject_attention"] if base is not None else _get(frame, "attention_other")
    change = _get(frame, "subject_attention") - before
    return _numbers("change", "Against {reference}", change) | {"signed": True}


def _references(by_arm: dict[str, pd.DataFrame], arms: Sequence[str]) -> dict[str, str]:
    """Name the model that each arm's attention is compared with."""
    others = {
        arm: str(found.iloc[0])
        for arm in arms
        if "other" in by_arm[arm] and len(found := by_arm[arm]["other"].dropna())
    }
    return {arm: others.get(arm, BASE) for arm in arms}


def _get(frame: pd.DataFrame, name: str) -> pd.Series:
    return frame[name] if name in frame else pd.Series(pd.NA, index=frame.index)


def _words(key: str, title: str, values: pd.Series) -> dict[str, Any]:
    codes, words = pd.factorize(values.astype("string"))
    return {
        "key": key,
        "title": title,
        "kind": "text",
        "words": [_cut(word) for word in words],
        "values": codes.tolist(),
    }


def _said(key: str, title: str, frame: pd.DataFrame) -> dict[str, Any]:
    column = _words(key, title, frame["prediction"])
    right: list[int | None] = [None] * len(frame)
    if "correct" in frame:
        right = _flags("", "", frame["correct"])["values"]
    return column | {"kind": "said", "right": right}


def _numbers(key: str, title: str, values: pd.Series, digits: int | None = 3) -> dict[str, Any]:
    numbers = values.astype("Float64")
    written = [
        None if v is None else float(f"{v:.5g}") for v in numbers.astype(object).where(numbers.notna(), None)
    ]
    kind: Literal["number"] = "number"
    return {"key": key, "title": title, "kind": kind, "digits": digits, "values": written}


def _flags(key: str, title: str, values: pd.Series) -> dict[str, Any]:
    numbers = values.astype("Float64")
    flags = [None if v is None else int(v) for v in numbers.astype(object).where(numbers.notna(), None)]
    return {"key": key, "title": title, "kind": "flag", "values": flags}


def _cut(text: object) -> str:
    text = str(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
