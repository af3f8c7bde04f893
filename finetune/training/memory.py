"""Running out of memory, and losing a GPU: what is tried again, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from accelerate.utils import find_executable_batch_size
from accelerate.utils.memory import should_reduce_batch_size

from finetune.common import distributed
from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from finetune.common.messages import one_line

T = TypeVar("T")
_LOST = ("CUDA error", "NCCL error", "HIP error", "unspecified launch failure", "device-side assert")

TOO_LARGE = (
    "out of memory with one row at a time; switch on gradient checkpointing, use --method lora and "
    "--dtype bfloat16, shorten the prompts, or spread the model over several GPUs with FSDP"
)


class OutOfMemory(InputError):
    """The model does not fit as it is trained: one line with the remedies."""


class DeviceLost(InputError):
    """A GPU failed during training: one line that says how to go on."""


def retry_smaller_batches(attempt: Callable[[int, int], T], *, rows: int, accumulate: int, work: Path) -> T:
    """Call ``attempt(accumulate, halved)``, in smaller pieces after each error for want of memory.

    1. Where a piece does not fit, accelerate's finder tries pieces of at most half its rows that still divide
       the share, so that each step sees the same rows. What was found is kept in ``work``.
    2. Several processes cannot try again by themselves, for the others wait inside the step: the smaller
       piece is noted, and a restart (``torchrun --max-restarts``) begins with it.

    Args:
        attempt: the training, given the pieces a step and how often they were halved.
        rows: a process's share of a step.
        accumulate: the pieces that it is computed in at first.
        work: where the piece that fits is kept.

    Raises:
        OutOfMemory: one row at a time does not fit; or, of several processes, one ran out.
        DeviceLost: a GPU failed.
    """
    found = work / "memory.json"
    held = _read(found)
    halved, micro = held["halved"], rows // max(accumulate, held["accumulate"])

    def shrink() -> int:
        nonlocal micro, halved
        micro = next((n for n in range(micro // 2, 0, -1) if rows % n == 0), 0)
        if micro:
            halved += 1
            write_json(found, {"accumulate": rows // micro, "halved": halved})
        return micro

    @find_executable_batch_size(starting_batch_size=micro, reduce_batch_size_fn=shrink)
    def run(micro_batch: int) -> T:
        try:
            return attempt(rows // micro_batch, halved)
        except RuntimeError as error:
            if should_reduce_batch_size(error) and distributed.process_count() > 1 and shrink():
                raise _restart_error(error, micro_batch, micro) from error
            _require_device(error, work)
            raise

    try:
        return run()
    except RuntimeError as error:
        # The finder's own error, once nothing smaller is left, has no other sign than its words.
        if not should_reduce_batch_size(error) and "No executable batch size" not in str(error):
            raise
        raise OutOfMemory(TOO_LARGE) from error


def _restart_error(error: RuntimeError, rows: int, fewer: int) -> OutOfMemory:
    return OutOfMemory(
        f"out of memory with {rows} rows at a time ({one_line(error)}); start the same command again: it "
        f"continues with {fewer} at a time"
    )


def _require_device(error: RuntimeError, work: Path) -> None:
    if any(sign in str(error) for sign in _LOST) and "out of memory" not in str(error):
        raise DeviceLost(
            f"a GPU failed during training ({one_line(error)}); start the same command again in a "
            f"new process: it continues from the newest state in {work}"
        ) from error


def _read(found: Path) -> dict[str, int]:
    """Read what was found before; a damaged note costs only the search."""
    try:
        held = read_json(found)
        return {name: int(held[name]) for name in ("accumulate", "halved")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"accumulate": 0, "halved": 0}
