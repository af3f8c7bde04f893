"""Placebos dealt out at random: each row gets what belongs to another row of its kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from finetune.common.seeds import generator


def derangement(labels: Sequence[str], *, seed: int = 0) -> list[int]:
    """Draw for each row another row of the same label, as a placebo; -1 where there is no other."""
    rng = generator(seed, "other fact of the layout")
    other = [-1] * len(labels)
    for label in sorted(set(labels)):
        members = rng.permutation([i for i, each in enumerate(labels) if each == label])
        for i, j in zip(members, np.roll(members, 1), strict=True):
            other[int(i)] = int(j) if i != j else -1
    return other


def of_another(
    values: Float[Tensor, "row ..."], labels: Sequence[str], *, seed: int = 0
) -> Float[Tensor, "row ..."]:
    """Give each row what another row of its label has; NaN where there is no other."""
    other = torch.tensor(derangement(labels, seed=seed))
    dealt = values[other].clone()
    dealt[other < 0] = torch.nan
    return dealt
