"""The attention of single facts as data for a page, which shows it when a fact is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.files import read_json
from interp.reports.figures.style import drawable_label
from interp.reports.read.run import RULE, Example
from interp.reports.views.examples import fact_views

LONGEST_TOKEN = 24
DECIMALS = 3


def example_pictures(examples: Sequence[Example]) -> dict[str, Any]:
    """Map each example's fact id to what ``circuits.js`` draws; too long a prompt is passed over."""
    return {view["fact_id"]: view for view in fact_views(examples)}


def last_row_pictures(path: Path) -> dict[str, Any]:
    """Read facts of which only the last rows were kept, mean over heads, as stored_or_suppressed does.

    A fact that several arms show has the rows of all of them. Empty where there is no such file.

    Raises:
        InputError: the file is not laid out as it should be.
    """
    if not path.is_file():
        return {}
    pictures: dict[str, Any] = {}
    try:
        for facts in read_json(path).values():
            for fact in facts:
                rows = {
                    str(arm): [round(float(v), DECIMALS) for v in row] for arm, row in fact["rows"].items()
                }
                if {len(row) for row in rows.values()} | {len(fact["subject"])} != {len(fact["tokens"])}:
                    raise ValueError("rows and tokens differ in length")
                held = pictures.setdefault(
                    str(fact["fact_id"]),
                    {
                        "tokens": [drawable_label(str(token), LONGEST_TOKEN) for token in fact["tokens"]],
                        "subject": [int(flag) for flag in fact["subject"]],
                        "rows": {},
                    },
                )
                held["rows"].update(rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is not laid out as expected ({error!r}); {RULE}") from None
    return pictures


def checkpoints(path: Path) -> dict[str, dict[str, str]]:
    """Map each seed of a run to where its models lie, as far as the run directory says."""
    found: dict[str, dict[str, str]] = {}
    for listed in sorted(path.glob("seeds/*/checkpoints.json")):
        try:
            held = read_json(listed)
            flat = {**held, **held.get("arms", {})}
        except (ValueError, AttributeError, TypeError):
            continue  # a page does without
        found[listed.parent.name] = {str(k): v for k, v in flat.items() if isinstance(v, str)}
    return found
