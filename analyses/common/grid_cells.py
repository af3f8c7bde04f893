"""A cell of a grid on disk: its name and directory, whether its rows are whole, and reading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from finetune.common.checksums import are_valid, cached_frame, sealed_state
from finetune.common.files import SEAL
from finetune.common.names import as_file_name
from finetune.common.progress import notice

FACTS, RUNNING = "facts.parquet", "running"  # what a finished cell leaves, and the mark of one at work


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One run of a grid: a seed and what is varied; ``key`` names its directory."""

    key: str
    seed: int
    params: Mapping[str, Any]

    @classmethod
    def of(cls, seed: int, **params: Any) -> GridCell:
        """Name a cell after its parameters."""
        parts = (f"{name}={value}" for name, value in params.items())
        return cls(
            key=as_file_name(",".join((*parts, f"seed={seed}")), longest=255), seed=seed, params=params
        )


def is_finished(run: Path, cell: GridCell) -> bool:
    """Whether a cell has left its facts as they were written, or readable ones by an older version."""
    path = facts_of(run, cell)
    return are_valid([path], lambda: pd.read_parquet(path))


def tidy(run: Path, cells: Sequence[GridCell]) -> None:
    """Remove what killed processes left of cells: marks, and rows of those whose checkpoint is damaged."""
    for cell in cells:
        home = facts_of(run, cell).parent
        (home / RUNNING).unlink(missing_ok=True)
        seals = home.rglob(SEAL) if home.is_dir() else ()
        # A checkpoint that is gone may have been removed on purpose, to save space.
        if any(sealed_state(seal.parent) == "damaged" for seal in seals):
            notice(f"{home}: a checkpoint is not as it was written; the cell is run again")
            facts_of(run, cell).unlink(missing_ok=True)
        if is_finished(run, cell):
            (home / "error.txt").unlink(missing_ok=True)


def read_cells(run: Path, cells: Sequence[GridCell]) -> pd.DataFrame:
    """Put finished cells' rows together, with each cell's seed and parameters as columns."""
    frames = [
        pd.read_parquet(facts_of(run, cell)).assign(seed=cell.seed, **cell.params)
        for cell in cells
        if is_finished(run, cell)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def facts_of(run: Path, cell: GridCell) -> Path:
    """Return where a finished cell's rows are."""
    return run / "cells" / cell.key / FACTS


def shared_frame(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Read a table that several cells need; whichever comes first makes it, and the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        return cached_frame(path, make)
