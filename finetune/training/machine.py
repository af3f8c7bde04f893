"""A machine as an estimate of costs sees it: its memory and FLOP/s, and how sizes and times are written."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a training runs: ``memory`` in bytes of one device, and the FLOP/s that its matmuls reach.

    ``processes`` devices share each step's rows; with ``sharded`` (FSDP) they also share the weights, their
    gradients and the optimizer's state.
    """

    name: str
    memory: int
    flops: float
    kind: str = "cuda"
    processes: int = 1
    sharded: bool = False


def size(count: float) -> str:
    """Write a number of bytes."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / (1 << 20):.0f} MiB"


def duration(seconds: float) -> str:
    """Write a time."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
