"""JSON files of a run directory, read with errors that name the file and the remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.files import read_json

RULE = "run the analysis again, or name a directory that it finished"


@contextmanager
def expected_layout(path: Path, remedy: str = RULE) -> Iterator[None]:
    """Refuse a file by name where reading what it holds fails.

    Raises:
        InputError: the block raised an error that a wrong layout causes; an ``InputError`` passes as it is.
    """
    try:
        yield
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is not laid out as expected ({error!r}); {remedy}") from None


def read_run_json(path: Path) -> Any:
    """Read a JSON file of a run directory.

    Raises:
        InputError: the file is missing or no JSON.
    """
    try:
        return read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing, so {path.parent} is no finished run; {RULE}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not readable JSON ({error}); {RULE}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run directory.

    Raises:
        InputError: the file is missing or holds something else.
    """
    value = read_run_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object; {RULE}")
    return value


def read_optional(path: Path, default: Any = None) -> Any:
    """Read a JSON file that a run may lack, ``default`` where it is absent or holds null.

    Raises:
        InputError: the file is no JSON.
    """
    return default if not path.is_file() or (value := read_run_json(path)) is None else value


def row_files(*runs: Path) -> tuple[str, ...]:
    """List the files of rows that run directories hold, from which numbers can be computed again."""
    return tuple(sorted({path.name for run in runs for path in run.glob("*.parquet")}))
