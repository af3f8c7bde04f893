"""Reading checkpoints: which facts a fine-tuned model lost, and where its attention went.

The names in ``__init__.pyi`` are imported when they are first used, so that importing the package
costs nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


class _Package(ModuleType):
    """A package whose function ``report`` is not hidden by the module of that name once it is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
