"""Sharing measurements between processes: each takes some checkpoints, and all read what all wrote.

    accelerate launch --num_processes 2 analyses/attention_imbalance.py --base ... --finetuned ... --facts ...

Every stage leaves a file, so processes need only wait for one another. A checkpoint is measured by one
process in the same batches as without sharing, hence with the same results.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import PartialState

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among ``count`` ones."""

    index: int = 0
    count: int = 1
    state: Any = None

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
    """Find out how many processes a launcher started, and which one this is."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Processes()

    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(index=state.process_index, count=state.num_processes, state=state)
