"""Finished cells as small committed files, from which another machine goes on with popularity_splits.

A cell leaves ``<cell>.parquet``, its rows, and ``<cell>.json``: its settings, digests of the facts and of the
base that it was made of, the curve of its training, each checkpoint's attention by layer, and its seconds of
CPU. A cell that is there is not trained again. What stored_or_suppressed found of a seed's unpopular half is
in ``verdicts/<setting>.parquet``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.common.grid_cells import GridCell, facts_of, is_finished
from analyses.experiments.popularity_splits.input_digests import cell_digests
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from finetune.common.checksums import recorded_file
from finetune.common.errors import InputError
from finetune.common.files import read_json, write_frame, write_json
from finetune.common.messages import printable
from finetune.common.progress import notice
from finetune.common.run_settings import without_unset
from interp.stats import TEST_OVER_TRAIN

# Which cells there are, how many threads run them, and what is done with them afterwards. Names of facts and
# bases differ between machines; what they hold is compared by its digests.
NOT_A_CELLS = ("seeds", "arms", "methods", "learning_rates", "fractions", "facts", "base", "threads", "full")
AFTERWARDS = ("analyse", "analysed")
DIGESTS = "digests"  # of what a cell was made of; archives of before 30 November 2026 have none
UNPOPULAR = "bottom"
VERDICT_COLUMNS = (
    *("fact_id", "subject", "base_knew", "right", "said", "verdict", "stated_share", "evidence_forms"),
    *("control_never", "pathway_base_qk", "pathway_base_placebo_qk"),
)
WORDS = ("prediction", "exact")  # what was said in full, which `given` says in short
# A number a cell, which ties and intervals are decided by: rounded it would decide otherwise.
EXACT = ("validation", "training_accuracy", TEST_OVER_TRAIN)


def import_cells(options: PopularitySplitsOptions, cells: Sequence[GridCell], run: Path) -> None:
    """Put archived cells into a run that lacks them.

    Raises:
        InputError: a cell was run with other settings, or on other facts or another base.
    """
    if options.archive is None:
        return
    unverified = 0
    for cell in cells:
        rows = options.archive / f"{cell.key}.parquet"
        if is_finished(run, cell) or not rows.is_file():
            continue
        record, frame = _archived(rows)
        held, wanted = record["config"], _config(options)
        if odd := sorted(k for k in {*held, *wanted} if held.get(k) != wanted.get(k)):
            raise InputError(
                f"--archive {rows}: was run with another {odd[0]} ({held.get(odd[0])}, not "
                f"{wanted.get(odd[0])}); name another folder"
            )
        unverified += DIGESTS not in record
        here = cell_digests(options, cell, run)
        made_of = record.get(DIGESTS, here)
        if odd := sorted(k for k in {*made_of, *here} if made_of.get(k) != here.get(k)):
            raise InputError(
                f"--archive {rows}: was run with --{odd[0]} of other contents; name another folder, or give "
                "what it was run with"
            )
        facts_of(run, cell).parent.mkdir(parents=True, exist_ok=True)
        with recorded_file(facts_of(run, cell)) as path:
            frame.to_parquet(path)
    if unverified:
        notice(
            f"{options.archive}: an older version left no digests of facts and base with {unverified} of its "
            "cells; that they are of these is taken from their names"
        )


def _archived(rows: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read an archived cell's record and rows.

    Raises:
        InputError: one of its two files is damaged or missing.
    """
    try:
        return read_json(rows.with_suffix(".json")), pd.read_parquet(rows)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--archive {rows}: this file or its .json is damaged or missing ({printable(str(error), 80)}); "
            "remove both, and the cell is run again"
        ) from error


def export_cell(
    options: PopularitySplitsOptions, cell: GridCell, frame: pd.DataFrame, record: dict[str, Any], run: Path
) -> None:
    """Archive a cell's rows and what else is told of it.

    Args:
        options: the experiment's, with its archive.
        cell: which cell it is.
        frame: its rows.
        record: what is told of it.
        run: the run directory, which says what it is made of.
    """
    if options.archive is None:
        return
    options.archive.mkdir(parents=True, exist_ok=True)
    small = frame.drop(columns=[name for name in WORDS if name in frame])
    floats = small.select_dtypes("float64").columns.difference(list(EXACT))
    rows = options.archive / f"{cell.key}.parquet"
    made_of = {"config": _config(options), DIGESTS: cell_digests(options, cell, run)}
    write_json(rows.with_suffix(".json"), {**made_of, **record})
    small = small.astype(dict.fromkeys(floats, "float32"))
    write_frame(rows, small, compression="zstd", index=False)  # last: rows without a record are never there


def _config(options: PopularitySplitsOptions) -> dict[str, Any]:
    """Return what decides a cell's numbers besides its own parameters, as JSON brings it back; set ones.

    A number of 0 is set, unless it is the default: older archives hold none.
    """
    config = without_unset(json.loads(json.dumps(options.config())))
    usual = {each.name: each.default for each in fields(options)}
    return {
        k: v
        for k, v in config.items()
        if k not in (*NOT_A_CELLS, *AFTERWARDS) and not (v == 0 and usual.get(k) == 0)
    }


def read_archive(folder: Path) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Read all archived cells: their rows with each cell's seed and parameters, and what is told of each.

    Raises:
        InputError: no cell is there.
    """
    frames, records = [], []
    for rows in sorted(folder.glob("*.parquet")):
        params = dict(word.split("=", 1) for word in rows.stem.split(","))
        typed = {n: float(v) if n in ("fraction", "learning_rate") else v for n, v in params.items()}
        typed["seed"] = int(params["seed"])
        frames.append(pd.read_parquet(rows).assign(**typed))
        records.append({**typed, **read_json(rows.with_suffix(".json"))})
    if not frames:
        raise InputError(f"{folder}: holds no finished cell; run the study's command first")
    return pd.concat(frames, ignore_index=True), records


def export_verdicts(folder: Path, setting: Mapping[str, object], rows: pd.DataFrame) -> None:
    """Archive what stored_or_suppressed found of the unpopular half of one setting, its seed the last."""
    name = ",".join(f"{key}={value}" for key, value in setting.items())
    path = folder / "verdicts" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    small = rows.loc[rows["arm"] == UNPOPULAR, [name for name in VERDICT_COLUMNS if name in rows]]
    write_frame(path, small, compression="zstd", index=False)


def read_verdicts(folder: Path) -> dict[int, pd.DataFrame]:
    """Read the archived verdicts on the unpopular half, by seed.

    Raises:
        InputError: they are of several data sets, models, methods or shares.
    """
    found: dict[int, Path] = {}
    settings = set()
    for path in folder.glob("verdicts/*.parquet"):
        setting, _, seed = path.stem.rpartition(",seed=")  # before 29 November 2026 the seed was all
        found[int(seed)] = path
        settings.add(setting)
    if len(settings) > 1:
        raise InputError(f"{folder}/verdicts: of several settings ({', '.join(sorted(settings))}); keep one")
    return {seed: pd.read_parquet(found[seed]) for seed in sorted(found)}
