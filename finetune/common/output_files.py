"""Output files in places that users name: nothing is replaced but what the same command wrote there.

A command that has a run directory keeps the checksums of what it wrote elsewhere (``RunDirectory.outputs``);
one without knows its own page or table by how it begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from finetune.common.errors import InputError
from finetune.common.names import normalise_name

Ours = Callable[[Path], bool]


def require_distinct_outputs(
    outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | str | None]
) -> None:
    """Refuse outputs that are, or lie within, one another or an input, however their paths are written.

    Args:
        outputs: places to write, by the option that names them.
        inputs: what is read, by option; what is no path of this machine does not count.

    Raises:
        InputError: names both options.
    """
    places = [(option, path) for option, path in outputs.items() if path is not None]
    for i, (option, path) in enumerate(places):
        for other, there in places[:i]:
            if _meet(path, there):
                raise InputError(f"{option} {path}: is or lies in the place of {other}; name another place")
        for other, source in inputs.items():
            if source is None or not (given := Path(source).expanduser()).exists():
                continue
            if _meet(path, given):
                raise InputError(
                    f"{option} {path}: is the input itself, or lies in it ({other}); name another place"
                )


def require_own_output(option: str, path: Path, ours: Ours) -> None:
    """Refuse to replace what this command did not write: a file that is there, a link, a directory.

    Args:
        option: what names the place.
        path: the place.
        ours: whether what is there was written by this command.

    Raises:
        InputError: names the place and the remedy.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not ours(path):
        raise InputError(
            f"{option} {path}: is there already, and is not as this command wrote it; name a new place, or "
            "remove it"
        )


def begins_with(*texts: str) -> Ours:
    """Recognise a file by its first characters; an empty one holds nothing to lose."""

    def ours(path: Path) -> bool:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(4096).decode("utf-8", errors="replace").replace("\r\n", "\n")
        return not head or any(
            text in head if text.startswith("<") else head.startswith(text) for text in texts
        )

    return ours


def _meet(one: Path, other: Path) -> bool:
    """Whether two paths are the same place, or one lies in the other."""
    if one.exists() and other.exists() and one.samefile(other):
        return True
    left, right = (normalise_name(os.path.realpath(path)) for path in (one, other))
    return left == right or _below(left, right) or _below(right, left)


def _below(inner: str, outer: str) -> bool:
    return inner.startswith(outer.rstrip(os.sep) + os.sep)
