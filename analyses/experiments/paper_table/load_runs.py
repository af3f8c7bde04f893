"""Rows of any set of run directories in one frame: which data set, model, method and arm each was made with.

Read are runs of ``attention_imbalance`` and of ``popularity_splits``, whole or their single cells. What a
run's rows do not say is taken from its manifest. Runs of one data set, model and method are pooled as seeds
of one experiment, unless they were made with other settings or answer the same seed differently: then each
goes under its own name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analyses.experiments.popularity_splits.cells import as_trained
from analyses.experiments.popularity_splits.numbers import METRICS, SETTING
from finetune.common.errors import InputError, LeftOut
from finetune.common.run_files import MANIFEST, require_undamaged
from finetune.common.run_settings import without_unset
from interp.reports.read.files import read_object

NEEDED = ("fact_id", "subject", "arm", "correct")
SMALL = "small"  # the base that is pretrained where none is given
HALVES = ("top", "bottom", "random")
_BLOCK = [*SETTING, "arm", "learning_rate", "seed"]
# What differs between cells and seeds of one experiment, or says only how it was run.
_NOT_THE_RECIPE = frozenset(
    "seed seeds arm arms fraction fractions learning_rate learning_rates method methods dataset model "
    "batch_tokens engine address workers gpus analyse analysed".split()
)


@dataclass(frozen=True, kw_only=True)
class LoadedRuns:
    """All runs' rows, with the columns of a ``popularity_splits`` cell, and what was left out."""

    rows: pd.DataFrame
    left_out: tuple[LeftOut, ...] = ()


def load_runs(paths: Sequence[Path]) -> LoadedRuns:
    """Read run directories, or all that lie below a directory.

    Raises:
        InputError: no directory, no run in it, a file that cannot be read, or rows of another kind of run.
    """
    frames: list[pd.DataFrame] = []
    left_out: list[LeftOut] = []
    for path in paths:
        for home in _homes(path):
            if not read_object(home / MANIFEST).get("finished"):
                if home == path.resolve():
                    raise InputError(f"{path}: is not finished; give its command again first")
                left_out.append(LeftOut(where=str(home), reason="is not finished"))
            elif not any(frame.attrs["home"] == str(home) for frame in frames):
                frames.append(read_run(home))
    if not frames:
        raise InputError(f"{', '.join(map(str, paths)) or 'no run'}: no finished run; give run directories")
    for frame in frames:
        frame.attrs = {}
    return LoadedRuns(rows=distinguish_runs(pd.concat(frames, ignore_index=True)), left_out=tuple(left_out))


def read_run(home: Path) -> pd.DataFrame:
    """Read one run's rows and fill in what its manifest says of them.

    Raises:
        InputError: facts.parquet cannot be read, lacks a column, or holds a fact twice in one arm and seed.
    """
    require_undamaged(home, "facts.parquet")
    file, config = home / "facts.parquet", read_object(home / MANIFEST).get("config") or {}
    try:
        frame = as_trained(pd.read_parquet(file))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{file}: is not a readable parquet file; make the run again") from error
    missing = [name for name in NEEDED if name not in frame]
    if missing:
        raise InputError(f"{file}: no column {', '.join(missing)}; give runs whose arms were asked facts")
    seeds = read_object(home / MANIFEST).get("seeds") or [0]
    defaults = {"seed": seeds[0], "learning_rate": np.nan, "known": pd.NA, **_setting(config)}
    frame = frame.assign(**{name: value for name, value in defaults.items() if name not in frame})
    if "fraction" not in frame:
        half = frame["arm"].str.removeprefix("shuffled_").isin(HALVES)
        frame["fraction"] = np.where(half, 0.5, 1.0)
    for name in METRICS:
        column = frame[name] if name in frame else pd.Series(pd.NA, index=frame.index)
        frame[name] = column.astype("boolean").to_numpy(dtype=np.float64, na_value=np.nan)
    frame["known"] = frame["known"].astype("boolean")
    if frame.duplicated([*_BLOCK, "fact_id"]).any():
        raise InputError(
            f"{file}: holds a fact several times in one arm and seed; give runs of attention_imbalance or "
            "popularity_splits"
        )
    told = without_unset(config)
    recipe = {k: v for k, v in sorted(told.items()) if k not in _NOT_THE_RECIPE}
    frame = frame.assign(run=home.name, home=str(home), recipe=json.dumps(recipe, default=str))
    frame.attrs = {"home": str(home)}
    return frame


def distinguish_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop what two runs hold alike, and name the run where they hold different things of one setting."""
    answers = [name for name in ("fact_id", "prediction", "correct") if name in frame]
    seen: dict[tuple[Any, ...], dict[str, str]] = {}
    repeated = np.zeros(len(frame), bool)
    apart: set[tuple[str, str]] = set()
    for key, rows in frame.groupby([*_BLOCK, "home"], sort=False, dropna=False):
        *block, home = key
        said = rows[answers].sort_values("fact_id").to_json(orient="values")
        others = seen.setdefault(tuple(str(each) for each in block), {})
        if said in others.values():
            repeated |= frame.index.isin(rows.index)
        elif others:
            apart.add((str(block[0]), str(block[1])))
        others[str(home)] = said
    frame = frame[~repeated]
    for key, rows in frame.groupby(["dataset", "model"], sort=False):
        # Cells of one grid have one parent, and a base of one data set and model serves every method.
        if rows.groupby("method")["recipe"].nunique().max() > 1:
            apart.add((str(key[0]), str(key[1])))
    clash = [(d, m) in apart for d, m in zip(frame["dataset"], frame["model"], strict=True)]
    names = frame["model"] + " (" + frame["run"] + ")"
    return frame.assign(model=frame["model"].where(~np.array(clash, bool), names))


def _setting(config: Mapping[str, Any]) -> dict[str, str]:
    """Name a run's data set, model and method by its configuration."""
    facts, base = config.get("facts"), config.get("base")
    return {
        "dataset": Path(str(facts)).stem if facts else f"world {config.get('world', '')}".strip(),
        "model": Path(str(base)).name if base else SMALL,
        "method": "given" if config.get("finetuned") else str(config.get("method") or "unnamed"),
    }


def _homes(path: Path) -> list[Path]:
    """List the runs at or below a directory; the parts of a run that has its own rows do not count."""
    if not path.is_dir():
        raise InputError(f"{path}: no such run directory; give directories that hold facts.parquet")
    root = path.resolve()
    found = sorted(
        {file.parent for file in root.rglob("facts.parquet") if (file.parent / MANIFEST).is_file()}
    )
    homes: list[Path] = []
    for home in found:
        if not any(outer in home.parents for outer in homes):
            homes.append(home)
    if not homes:
        raise InputError(f"{path}: holds no run (facts.parquet with manifest.json); give run directories")
    return homes
