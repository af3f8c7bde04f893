"""Random streams by name: the one way from a run's seed to the generator of each draw.

Every draw takes a stream of its own, so that none moves when another one is added. A stream's number goes
into the entropy behind the seed; recorded results depend on it, so a number is never changed or used for a
new purpose. A few older streams share a number, and a few have none: those are drawn from the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

STREAMS: dict[str, int | None] = {
    # finetune
    "world": 0,
    "pretraining corpus": 1,
    "fine-tuning rows": 2,
    "question subjects": 3,
    "limit of facts": 4,
    "popularity ties": 5,
    "random half": 6,
    "partition": 7,
    "solved examples in front": 7,
    "shuffled popularity": 8,
    "world in levels": 9,
    "solved examples of a format": 11,
    "generic answers": 20,
    "wrong answers": 21,
    "planting rows": 22,
    "training probe": 23,
    "distillation partners": 31,
    "elicitation order": 71,
    "elicitation sample": 72,
    # interp
    "bootstrap": None,
    "screened cells": None,
    "one-layer weights": None,
    "random direction": None,
    "model probe": None,
    "wrong subject": 4,
    "reference subjects": 5,
    "candidate examples": 50,
    "reference facts": 51,
    "random score": 52,
    "shuffled score": 53,
    "score ties": 54,
    "few-shot draw": 1000,
    # analyses
    "verdict facts": 8,
    "grid facts": 9,
    "grafted facts": 45,
    "hidden facts": 46,
    "pictured facts": 10,
    "recall parts": 73,
    "mixture": 30,
    "crossed set": 31,
    "gradient batches": 32,
    "own facts asked": 32,
    "facts asked for advice": 91,
    "mixed halves": 33,
    "facts mixed in": 33,
    "unknown facts mixed in": 34,
    "facts analysed": 40,
    "toy world": 40,
    "toy pretraining": 41,
    "probe folds": 75,
    "wrong answers ranked": 76,
    "swapped names": 77,
    "other fact of the layout": 42,
    "rows sampled": 43,
    "calibration folds": 44,
    "recall facts": 61,
    "examples set aside": 73,
    "invented names": 74,
    "lesson folds": 81,
    "lesson deals": None,  # so deal n of one seed is the first of the n-th seed after it
    "exchanged answers": 82,
}


def generator(seed: int | Sequence[int] | None, stream: str, *parts: int) -> np.random.Generator:
    """Return numpy's generator of a stream.

    Args:
        seed: the run's, or several numbers such as (seed, draw); None where all runs draw the same.
        stream: a name in :data:`STREAMS`.
        parts: numbers that tell draws of one stream apart, such as a relation's place.
    """
    seeds = [] if seed is None else [*seed] if isinstance(seed, Sequence) else [seed]
    number = STREAMS[stream]
    return np.random.default_rng([*seeds, *([] if number is None else [number]), *parts])


def torch_generator(seed: int, stream: str) -> torch.Generator:
    """Return torch's generator, on the CPU, of a stream that is drawn from the seed alone."""
    import torch

    if STREAMS[stream] is not None:
        raise ValueError(f"stream {stream!r} has a number; draw from it with numpy")
    return torch.Generator().manual_seed(seed)


def draw_seed(seed: int, stream: str, draw: int) -> int:
    """Return a seed of its own for the n-th of several draws that each take one."""
    return seed + (STREAMS[stream] or 0) + draw


def rotate(items: Sequence[str], seed: int) -> list[str]:
    """Turn a list so that each seed begins with another item, all in their order."""
    first = seed % len(items)
    return [*items[first:], *items[:first]]


def seed_libraries(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, which initial weights and dropout come from."""
    from transformers import set_seed

    set_seed(seed)
