"""Tables of facts from a result, a table or a run directory, with the columns that a figure needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from finetune.common.errors import InputError
from interp.reports.read.run import RULE, Run


def require_columns(source: Any, needed: Sequence[str], arms: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a table with the columns needed, and ``arm`` and ``seed``.

    Args:
        source: a table, something with ``to_frame()``, a run, or the directory of one.
        needed: columns that must be there.
        arms: which arms to keep, in this order; all without it.

    Raises:
        InputError: a column or an arm is missing, or the directory holds no table of facts.
    """
    where = "the table"
    if isinstance(source, Run):
        where, frame = str(source.path), source.facts
    elif isinstance(source, Path | str):
        where = str(Path(source) / "facts.parquet")
        frame = read_parquet(Path(source) / "facts.parquet")
    else:
        frame = source if isinstance(source, pd.DataFrame) else source.to_frame()
    if missing := [name for name in needed if name not in frame]:
        raise InputError(f"{where}: lacks the column {missing[0]!r}, so this figure cannot be drawn")
    frame = frame.assign(**{name: value for name, value in (("arm", ""), ("seed", 0)) if name not in frame})
    if arms is None:
        return frame
    if odd := [arm for arm in arms if arm not in set(frame["arm"])]:
        raise InputError(f"{where}: holds no arm {odd[0]!r}; choose from {', '.join(frame['arm'].unique())}")
    return pd.concat([frame[frame["arm"] == arm] for arm in arms])


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file of a run directory.

    Raises:
        InputError: it is missing or unreadable.
    """
    if not path.is_file():
        raise InputError(f"{path}: is missing, so {path.parent} is no finished run of that kind; {RULE}")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is not a readable Parquet file ({error}); {RULE}") from None
