"""The facts of a run on its page: their table, and the attention that was kept of some, as script data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from interp.reports.figures.labels import drawable_label
from interp.reports.pages.fact_table import FactTable, fact_table, read_verdicts
from interp.reports.read.fact_attention import DIGITS, Example
from interp.reports.read.files import expected_layout, read_optional
from interp.reports.read.run import NotMeasured, Run, read_parquet
from interp.reports.views.circuits import fact_views, packed_bundle, script_json

LONGEST_TOKEN = 24


@dataclass(frozen=True, kw_only=True)
class FactSection:
    """What the template needs: ``data`` and ``bundle`` are safe inside scripts.

    ``missing`` is the sentence that says why there is no table; it is empty where there is one, or no fact.
    ``kept`` lists the facts whose attention is in the page: id and name.
    """

    table: FactTable | None = None
    missing: str = ""
    data: str = ""
    bundle: str = ""
    kept: tuple[tuple[str, str], ...] = ()


def run_fact_section(run: Run, verdicts: Path | None = None) -> FactSection:
    """Make the section of a run of attention_imbalance, with the verdicts of another run if one is named.

    Raises:
        InputError: ``verdicts`` holds no verdicts on these facts.
    """
    judged = None if verdicts is None else read_verdicts(verdicts, run.facts)
    return _section(run.path, run.facts, judged, example_pictures(run.examples))


def study_fact_section(path: Path) -> FactSection:
    """Make the section of a study's run directory; empty where it keeps no facts.

    Raises:
        InputError: a file of it is malformed.
    """
    file = path / "facts.parquet"
    if not file.is_file():
        return FactSection()
    return _section(path, read_parquet(file), None, last_row_pictures(path / "pictures.json"))


def example_pictures(examples: Sequence[Example]) -> dict[str, Any]:
    """Map each example's fact id to what ``circuits.js`` draws; too long a prompt is passed over."""
    return {view["fact_id"]: view for view in fact_views(examples)}


def last_row_pictures(path: Path) -> dict[str, Any]:
    """Read facts of which only the last rows were kept, mean over heads, as stored_or_suppressed does.

    A fact that several arms show has the rows of all of them. Empty where there is no such file.

    Raises:
        InputError: the file is not laid out as it should be.
    """
    pictures: dict[str, Any] = {}
    with expected_layout(path):
        for fact in (fact for facts in read_optional(path, {}).values() for fact in facts):
            rows = {str(arm): [round(float(v), DIGITS) for v in row] for arm, row in fact["rows"].items()}
            if {len(row) for row in rows.values()} | {len(fact["subject"])} != {len(fact["tokens"])}:
                raise ValueError("rows and tokens differ in length")
            shown = {
                "tokens": [drawable_label(str(token), LONGEST_TOKEN) for token in fact["tokens"]],
                "subject": [int(flag) for flag in fact["subject"]],
                "rows": {},
            }
            pictures.setdefault(str(fact["fact_id"]), shown)["rows"].update(rows)
    return pictures


def _section(
    path: Path, frame: pd.DataFrame, verdicts: pd.DataFrame | None, kept: dict[str, Any]
) -> FactSection:
    try:
        table = fact_table(frame, verdicts=verdicts)
    except NotMeasured as reason:
        return FactSection(missing=str(reason))
    # The attention of single facts is kept for the first seed only.
    seed = str(frame["seed"].iloc[0]) if len(frame) else ""
    extra = {"pictures": kept, "picturesSeed": seed, "checkpoints": _checkpoints(path)}
    whole = any("arms" in picture for picture in kept.values())
    rows = frame.drop_duplicates("fact_id").set_index(frame["fact_id"].drop_duplicates().astype(str))
    names = rows["subject"].astype(str) + ", " + rows["relation"].astype(str)
    return FactSection(
        table=table,
        data=script_json({**table.data, **extra}),
        bundle=packed_bundle() if whole else "",
        kept=tuple((identity, names.get(identity, identity)) for identity in kept),
    )


def _checkpoints(path: Path) -> dict[str, dict[str, str]]:
    """Map each seed of a run to where its models lie, as far as the run directory says."""
    found: dict[str, dict[str, str]] = {}
    for listed in sorted(path.glob("seeds/*/checkpoints.json")):
        try:
            held = read_optional(listed, {})
            flat = {**held, **held.get("arms", {})}
        except (ValueError, AttributeError, TypeError):
            continue  # a page does without
        found[listed.parent.name] = {str(k): v for k, v in flat.items() if isinstance(v, str)}
    return found
