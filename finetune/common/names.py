"""Names that users give and that become names of files: one rule for arms, data sets, models and runs.

A name is a name and never a path: it is one part of a path on every system, it hides nothing, and it can be
read aloud from a listing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from finetune.common.errors import InputError
from finetune.common.messages import printable

LONGEST = 80  # bytes; two of them and some settings fit into a file name of 255
# What separates parts of a path on some system, or settings in a cell's name.
_APART = frozenset('/\\:*?"<>|,=')
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_DEVICES = frozenset(
    ("CON", "PRN", "AUX", "NUL", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in "0123456789¹²³"))
)


def require_name(name: str, option: str, *, remedy: str = "write NAME=PATH with another name") -> str:
    """Return a name that may become the name of a file or directory.

    Args:
        name: what the user gave, or what a path given without a name ends with.
        option: what to call it in the message, such as ``--finetuned``.
        remedy: what to do instead.

    Raises:
        InputError: it is empty, a path, hidden, reserved on some system, too long, or cannot be seen.
    """
    if why := _fault(name):
        raise InputError(f"{option} {printable(name, 80)!r}: {why}; {remedy}")
    return name


def require_different(names: Sequence[str], option: str, *, remedy: str) -> None:
    """Refuse names that some file system takes for one: equal, or but for case and the way accents are coded.

    Raises:
        InputError: names the first that comes twice.
    """
    seen: set[str] = set()
    for name in names:
        if (plain := normalise_name(name)) in seen:
            raise InputError(
                f"{option}: two are called {printable(name, 80)} (case does not count); {remedy}"
            )
        seen.add(plain)


def normalise_name(name: str) -> str:
    """Return a name as file systems compare it that ignore case and the way accents are coded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def as_file_name(text: str, *, longest: int = 200) -> str:
    """Turn any text into one part of a path, for names that are made here; what cannot stay becomes ``_``."""
    plain = "".join(
        "_" if c in _APART - {",", "="} or unicodedata.category(c) in _UNSEEN else c for c in text
    )
    short = plain.replace(" ", "_").encode()[:longest].decode(errors="ignore")
    return f"_{short}" if short.startswith(".") or not short else short


def _fault(name: str) -> str:
    if not name.strip():
        return "is no name"
    if len(name.encode(errors="replace")) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    if name != name.strip():
        return "begins or ends with a space"
    if any(unicodedata.category(mark) in _UNSEEN for mark in name):
        return "holds a line break or another character that cannot be seen"
    if apart := sorted(set(name) & _APART):
        return f"is a name that becomes a directory's, and holds {' '.join(apart)}"
    if name.startswith((".", "~", "-")) or name.endswith("."):
        return "begins with a dot, ~ or -, or ends with a dot"
    if name.split(".")[0].rstrip().upper() in _DEVICES:
        return "is a device's name on some systems"
    return ""
