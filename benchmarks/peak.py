"""The most memory that this process has held."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_memory() -> int:
    """Return this process's peak resident memory in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux counts a parent's peak into a child's ru_maxrss, but not into VmHWM
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
