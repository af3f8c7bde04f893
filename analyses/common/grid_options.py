"""Where the cells of a grid run: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

Engine = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where cells run: ``workers`` at a time (None: one for every ``threads`` cores), each on ``threads``.

    ``address`` is a Ray cluster's; without it Ray is started on this machine. ``gpus`` are a Ray cell's own,
    or a share of one; local processes share what there is.
    """

    engine: Engine = "local"
    workers: int | None = None
    threads: int = 1
    address: str | None = None
    gpus: float = 0.0
    retries: int = 1

    @property
    def at_once(self) -> int:
        """How many cells run at a time on this machine."""
        return self.workers or max(1, (os.cpu_count() or 1) // self.threads)
