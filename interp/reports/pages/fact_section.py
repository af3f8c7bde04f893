"""The part of a page that shows facts one by one: the table, the kept attention, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from finetune.common.errors import InputError
from interp.reports.pages import fact_pictures as pictures
from interp.reports.pages.fact_table import FactTable, fact_table, read_verdicts
from interp.reports.read.run import RULE, NotMeasured, Run
from interp.reports.views.bundle import packed_bundle, script_json


@dataclass(frozen=True, kw_only=True)
class FactSection:
    """What the templates need: ``data`` and ``bundle`` are safe inside scripts.

    ``missing`` is the sentence that says why there is no table; it is empty where there is one, or no fact.
    """

    table: FactTable | None = None
    missing: str = ""
    data: str = ""
    bundle: str = ""
    kept: tuple[str, ...] = ()


def run_fact_section(run: Run, verdicts: Path | None = None) -> FactSection:
    """Make the section of a run of attention_imbalance, with the verdicts of another run if one is named.

    Raises:
        InputError: ``verdicts`` holds no verdicts on these facts.
    """
    judged = None if verdicts is None else read_verdicts(verdicts, run.facts)
    return _section(run.path, run.facts, judged, pictures.example_pictures(run.examples))


def study_fact_section(path: Path) -> FactSection:
    """Make the section of a study's run directory; empty where it keeps no facts."""
    file = path / "facts.parquet"
    if not file.is_file():
        return FactSection()
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: is not a readable Parquet file ({error}); {RULE}") from None
    return _section(path, frame, None, pictures.last_row_pictures(path / "pictures.json"))


def _section(
    path: Path, frame: pd.DataFrame, verdicts: pd.DataFrame | None, kept: dict[str, Any]
) -> FactSection:
    try:
        table = fact_table(frame, verdicts=verdicts)
    except NotMeasured as reason:
        return FactSection(missing=str(reason))
    # The attention of single facts is kept for the first seed only.
    seed = str(frame["seed"].iloc[0]) if len(frame) else ""
    extra = {"pictures": kept, "picturesSeed": seed, "checkpoints": pictures.checkpoints(path)}
    whole = any("arms" in picture for picture in kept.values())
    return FactSection(
        table=table,
        data=script_json({**table.data, **extra}),
        bundle=packed_bundle() if whole else "",
        kept=tuple(kept),
    )
