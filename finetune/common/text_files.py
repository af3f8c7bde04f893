"""Reading text files that users name: regular files only, of a bounded size, so that nothing hangs."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from finetune.common.errors import InputError
from finetune.common.messages import one_line

KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
MIB = 1 << 20


def require_regular(path: Path, *, label: str = "") -> os.stat_result:
    """Return what the system knows of a file that can be read to its end.

    Args:
        path: the file; a link to one will do.
        label: what names it in an error, as ``--yaml runs.yaml``; the path by default.

    Raises:
        InputError: there is none, or it is a directory, a pipe, a socket or a device: reading those may hang.
    """
    name = label or str(path)
    try:
        held = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: cannot be read ({reason}); name a file") from error
    for is_kind, told in KINDS:
        if is_kind(held.st_mode):
            raise InputError(f"{name}: is {told}; name a file")
    return held


def read_json_object(path: Path, *, remedy: str, most: int = 16 * MIB) -> dict[str, Any]:
    """Read a JSON object that others wrote: a configuration, an adapter's settings, a run's results.

    Args:
        path: the file.
        remedy: what to do about one that is none; it ends the error's line.
        most: how many bytes it may have.

    Raises:
        InputError: it cannot be read, is larger, is no JSON, or is no object.
    """
    try:
        if path.stat().st_size > most:
            raise InputError(f"{path}: is larger than {most // MIB} MiB; {remedy}")
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise InputError(f"{path}: is no readable JSON ({reason}); {remedy}") from error
    if not isinstance(held, dict):
        raise InputError(f"{path}: holds a {type(held).__name__}, not an object; {remedy}")
    return held


def read_text(path: Path, *, label: str = "", most: int = 8 * MIB) -> str:
    """Read a small UTF-8 file that a user named; a byte-order mark is left off.

    Args:
        path: the file.
        label: what names it in an error; the path by default.
        most: how many bytes it may have.

    Raises:
        InputError: see :func:`require_regular`; or it is larger, not UTF-8, or may not be read.
    """
    name = label or str(path)
    size = require_regular(path, label=label).st_size
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)  # a file of the system (/proc) says that it is empty
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); check its permissions") from error
    if max(size, len(raw)) > most:
        raise InputError(f"{name}: has more than {most // MIB} MiB; give a smaller file")
    return decode_utf8(raw, name)


def decode_utf8(raw: bytes, name: str) -> str:
    """Decode a file's bytes; a byte-order mark is left off.

    Raises:
        InputError: they are not UTF-8; says so of the file, or names the line.
    """
    marks = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
    # Every other byte of plain letters in UTF-16 is 0, with or without a mark in front.
    if raw.startswith(marks) or 2 * max(raw[:200:2].count(0), raw[1:200:2].count(0)) > len(raw[:200:2]):
        raise InputError(f"{name}: is UTF-16 or UTF-32, not UTF-8; save the file as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}:{line}: is not UTF-8; save the file as UTF-8") from error
