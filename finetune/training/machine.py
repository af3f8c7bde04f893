"""A machine as an estimate of costs sees it: memory and FLOP/s, measured; how sizes and times are written."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

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


def this_machine(dtype: str = "float32") -> Machine:
    """Measure this machine: its memory, and a matmul in ``dtype`` for about a third of a second."""
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        name, kind, memory, width = torch.cuda.get_device_name(), "cuda", free, 8192
    else:
        name, kind, memory, width = "this machine's CPU", "cpu", psutil.virtual_memory().available, 1024
    a = torch.randn(width, width, dtype=getattr(torch, dtype), device=kind)

    def synchronise() -> None:
        if kind == "cuda":
            torch.cuda.synchronize()

    a @ a
    synchronise()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < 0.3:
        a @ a
        synchronise()
        done += 1
    flops = 2 * width**3 * done / (time.perf_counter() - start)
    # A whole training reaches about half of what its largest matmuls do.
    return Machine(name=name, memory=memory, flops=flops / 2, kind=kind)


def size(count: float) -> str:
    """Write a number of bytes."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / (1 << 20):.0f} MiB"
