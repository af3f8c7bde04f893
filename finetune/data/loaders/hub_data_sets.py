"""Rows of a public data set on the hub, fetched by ``datasets.load_dataset``; no code of it is run."""

from __future__ import annotations

import re
from collections.abc import Mapping

from datasets import DatasetDict, load_dataset
from datasets.exceptions import DatasetsError

from finetune.common.errors import InputError, LeftOut
from finetune.common.hub import access_refusal, is_offline, use_cache_if_unreachable
from finetune.data.loaders.columns import canonical
from finetune.data.loaders.hub_splits import preferred_split
from finetune.data.loaders.records import Row, Table, table_of

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+?)(?::([\w.+-]+))?")


def hub_id(source: str) -> tuple[str, str | None] | None:
    """Take ``owner/name`` or ``owner/name:config`` apart; None if it is not such an id."""
    found = _HUB_ID.fullmatch(source)
    return (found[1], found[2]) if found else None


def from_hub(
    data_set: str,
    config: str | None = None,
    *,
    name: str,
    otherwise: str,
    columns: Mapping[str, str] | None = None,
) -> tuple[Table, tuple[LeftOut, ...]]:
    """Fetch one split of a data set; the others are reported.

    Args:
        data_set: its id.
        config: its configuration, if it has several.
        name: what it is called in messages.
        otherwise: completes "connect to the network, or ...".
        columns: its own names of columns, by what they are called here.

    Raises:
        InputError: no such data set or configuration, gated or private, no network and not in the cache.
    """

    use_cache_if_unreachable()
    try:
        found = load_dataset(data_set, config)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise InputError(_problem(data_set, error, otherwise)) from error
    parts = dict(found) if isinstance(found, DatasetDict) else {"test": found}
    found_columns = tuple(next(iter(parts.values())).column_names)
    taken = preferred_split(parts, tuple(canonical(name, found_columns, columns).values()))
    rows = [Row(file=name, cells=cells, number=number) for number, cells in enumerate(parts[taken], start=1)]
    if not rows:
        raise InputError(f"{data_set}: its split {taken} has no rows; choose another configuration")
    reason = f"rows were not loaded; {taken} is the split taken"
    others = tuple(
        LeftOut(where=f"{name}, split {split}", reason=f"{len(part)} {reason}")
        for split, part in parts.items()
        if split != taken
    )
    return table_of(name, rows, columns, found=parts[taken].column_names), others


def _problem(data_set: str, error: Exception, otherwise: str) -> str:
    if said := access_refusal(data_set, error, "data set"):
        return said
    if isinstance(error, ValueError):  # a configuration that is missing or unknown: the library lists them
        told = " ".join(str(error).split("Example of usage")[0].split())[:400]
        return f"{data_set}: cannot be loaded ({told}); write {data_set}:CONFIG to choose one"
    if is_offline():
        return (
            f"{data_set}: is not in the cache, and the hub is switched off by HF_HUB_OFFLINE=1; "
            f"unset it, or {otherwise}"
        )
    return (
        f"{data_set}: cannot be fetched from the hub ({type(error).__name__}); "
        f"connect to the network, or {otherwise}"
    )
