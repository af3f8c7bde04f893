"""Errors that tell a user what to mend, and the record of what was left out."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.common.messages import printable


class InputError(ValueError):
    """A mistake in what the user gave: one line that names the file, row or setting, and the remedy.

    Whatever data it echoes, it is one printable line of bounded length (:mod:`finetune.common.messages`).
    ``in_python`` is a further remedy, one that only a caller in Python has; command lines leave it out.
    """

    def __init__(self, message: str = "", *, in_python: str = "") -> None:
        super().__init__(printable(message + in_python))
        self.on_command_line = printable(message)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Something that was set aside: where it stood (file and line, or fact id) and why.

    ``usable`` is what was only not wanted, as facts that ``--limit`` did not draw.
    """

    where: str
    reason: str
    usable: bool = False

    def __post_init__(self) -> None:
        for name in ("where", "reason"):
            object.__setattr__(self, name, printable(getattr(self, name)))
