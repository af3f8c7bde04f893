"""The user's cache directory, where pretrained bases and downloaded models are kept."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """Return the directory ``factscope`` in the user's cache (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "factscope"
