"""Several processes (``accelerate launch``, ``torchrun``): who writes, shares of work, what all agree on.

With one process, the usual case, every function does the obvious thing and no library is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from accelerate import PartialState

T = TypeVar("T")
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among ``count`` ones; ``state`` is accelerate's where there are several."""

    index: int = 0
    count: int = 1
    state: PartialState | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes what belongs to all."""
        return self.index == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share."""
        return items[self.index :: self.count]

    def wait(self) -> None:
        """Wait until every process has come this far."""
        if self.state is not None:
            self.state.wait_for_everyone()


def processes() -> Processes:
    """Find out how many processes a launcher started and which one this is; meet them when first asked."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=on_cpu())
    return Processes(index=state.process_index, count=state.num_processes, state=state)


def process_count() -> int:
    """Return how many processes the launcher started."""
    return processes().count


def is_main() -> bool:
    """Whether this is the process that writes."""
    return processes().is_main


def on_cpu() -> bool:
    """Whether processes must be told to use the CPU: they would look for a GPU, and not for each other."""
    import torch

    return not torch.accelerator.is_available()


def wait_for_everyone() -> None:
    """Wait until every process has come this far."""
    processes().wait()


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
    team = processes()
    if team.count == 1:
        return measure(items)
    if lockstep:
        return broadcast_from_main(measure(items))
    from accelerate.utils import gather_object

    parts: list[Arrays] = gather_object([measure(team.mine(items))])
    together = []
    for columns in zip(*parts, strict=True):
        whole = np.empty(len(items), columns[0].dtype)
        for place, column in enumerate(columns):
            whole[place :: team.count] = column
        together.append(whole)
    return tuple(together)
