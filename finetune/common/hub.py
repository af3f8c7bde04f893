"""What went wrong at the hub, said in one line with a remedy; the same for models and for data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from finetune.common.messages import one_line

Kind = Literal["model", "data set"]
PATIENCE = 3.0  # seconds
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def access_refusal(name: str, error: BaseException, kind: Kind) -> str | None:
    """Say that the hub has no such id, or that it must be asked for it first; None if it is neither.

    The libraries wrap the hub's own error, so the chain of causes is looked through.
    """
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError, LocalTokenNotFoundError, RepositoryNotFoundError

    page = f"https://huggingface.co/{'datasets/' if kind == 'data set' else ''}{name}"
    chain = list(_chain(error))
    if any(isinstance(e, GatedRepoError) or "gated" in _about(e) for e in chain):
        return f"{name}: this {kind} is gated; accept its terms at {page}, then {_LOGIN}"
    if any(isinstance(e, LocalTokenNotFoundError) or _status(e) == 403 for e in chain):
        return f"{name}: this {kind} needs a login that may read it; {_LOGIN}"
    if any(isinstance(e, (RepositoryNotFoundError, DatasetNotFoundError)) for e in chain):
        return f"{name}: the hub has no such {kind}, or it is private; check the id, or {_LOGIN}"
    return None


def is_offline() -> bool:
    """Whether the environment switches the hub off."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in names)


def hub_answers() -> bool:
    """Whether the hub is not switched off and can be reached."""
    return not is_offline() and hub_reached()


def use_cache_if_unreachable() -> None:
    """Have the hub's libraries take from the cache at once where the hub cannot be reached."""
    hub_answers()


@cache
def hub_reached() -> bool:
    """Whether the hub can be reached, asked once a process; if not, its libraries take from the cache only.

    Left to themselves they try for half a minute, with a line for each time.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # whatever the network's libraries raise; a refusal is an answer
        constants.HF_HUB_OFFLINE = True
        return False
    return True


def loading_error(source: str | Path, error: Exception, what: str = "cannot be loaded") -> str:
    """Say in a line why a source cannot be loaded, and what to do about it."""
    remedy = "name another checkpoint, or copy all of its files again"
    if not Path(source).is_dir():
        if said := access_refusal(str(source), error, "model"):
            return said
        if not hub_answers():
            why = "is switched off by HF_HUB_OFFLINE=1" if is_offline() else "cannot be reached"
            return f"{source}: no such directory here, and the hub {why}; check the name, or the network"
        remedy = "no such directory here, and the hub did not give it; check the hub id"
    return f"{source}: {what} ({one_line(error)}); {remedy}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _about(error: BaseException) -> str:
    """Return the part of a library's message that does not depend on the id."""
    from datasets.exceptions import DatasetNotFoundError

    return str(error).split("' ", 1)[-1] if isinstance(error, DatasetNotFoundError) else ""


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
