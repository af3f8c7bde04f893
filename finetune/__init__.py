"""Making checkpoints: facts, prompts, splits, worlds, training and evaluation.

The names in ``__init__.pyi`` are imported when they are first used, so that importing the package
costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
