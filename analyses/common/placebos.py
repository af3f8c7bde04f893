"""Placebos dealt out at random: each row gets what belongs to another row of its kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finetune.common.seeds import generator


def derangement(labels: Sequence[str], *, seed: int = 0) -> list[int]:
    """Draw for each row another row of the same label, as a placebo; its own where there is no other."""
    rng = generator(seed, "other fact of the layout")
    other = list(range(len(labels)))
    for label in sorted(set(labels)):
        members = rng.permutation([i for i, each in enumerate(labels) if each == label])
        for i, j in zip(members, np.roll(members, 1), strict=True):
            other[int(i)] = int(j)
    return other
