"""Which facts fine-tuning lost, which are still stored but suppressed, and which data to use instead.

What :mod:`finetune` and :mod:`interp` offer can be imported from here, and is when it is first used:

    from factscope import FactSet, diagnose, load_pair
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

PACKAGES = ("finetune", "interp")
__version__ = metadata.version("factscope")


def __getattr__(name: str) -> Any:
    for package in map(import_module, PACKAGES):
        if name in package.__all__:
            return getattr(package, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    offered = (name for package in map(import_module, PACKAGES) for name in package.__all__)
    return sorted({*offered, "__version__"})
