"""Training in several processes (``accelerate launch``, ``torchrun``): who writes, and what all agree on.

With one process, the usual case, every function does the obvious thing and ``torch.distributed`` is not
touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Arrays = tuple[np.ndarray, ...]


def process_count() -> int:
    """Return how many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def on_cpu() -> bool:
    """Whether processes must be told to use the CPU: they would look for a GPU, and not for each other."""
    import torch

    return not torch.accelerator.is_available()


def join_processes() -> None:
    """Meet the other processes; call before anything else of this module, in all of them."""
    if process_count() > 1:
        from accelerate import PartialState

        PartialState(cpu=on_cpu())


def wait_for_everyone() -> None:
    """Wait until every process has come this far."""
    if process_count() > 1:
        import torch.distributed as dist

        dist.barrier()


def broadcast_from_main(value: T) -> T:
    """Return the main process's value in all of them, so that none goes another way than the rest."""
    if process_count() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    held = [value]
    broadcast_object_list(held)
    return held[0]


def measure_in_shares(
    measure: Callable[[Sequence[T]], Arrays], items: Sequence[T], *, lockstep: bool
) -> Arrays:
    """Measure items, each process its share, and give all of them all results [item].

    ``lockstep``: every process measures every item, which a model that is spread over them needs.
    """
    if process_count() == 1:
        return measure(items)
    if lockstep:
        return broadcast_from_main(measure(items))
    from accelerate.utils import gather_object

    rank, world = int(os.environ["RANK"]), process_count()
    parts: list[Arrays] = gather_object([measure(items[rank::world])])
    together = []
    for columns in zip(*parts, strict=True):
        whole = np.empty(len(items), columns[0].dtype)
        for place, column in enumerate(columns):
            whole[place::world] = column
        together.append(whole)
    return tuple(together)
