"""Matching of controls: never-stored facts that are like lost ones in answer frequency and popularity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.stats import rankdata

if TYPE_CHECKING:
    from finetune.data.records.fact import Fact

ENOUGH_CONTROLS = 100  # bounds further rounds of matching, which take facts that are less and less alike
Rows = Bool[ndarray, " fact"]


def likeness(facts: Sequence[Fact]) -> Float[ndarray, "fact feature"]:
    """Return what facts are matched on, in standard deviations: log answer frequency, popularity's rank."""
    counts = Counter((fact.relation, fact.answers[0]) for fact in facts)
    columns = [np.log([counts[fact.relation, fact.answers[0]] for fact in facts])]
    popularity = [fact.popularity for fact in facts if fact.popularity is not None]
    if len(popularity) == len(facts):
        columns.append(rankdata(popularity))
    values = np.stack(columns, axis=1)
    spread = values.std(0)
    return values / np.where(spread > 0, spread, 1.0)


def match(lost: Rows, pool: Rows, features: Float[ndarray, "fact feature"]) -> Rows:
    """Choose the facts of a pool that are nearest to lost ones, in rounds; none where none is lost."""
    taken, left = np.zeros_like(pool), pool.copy()
    for _ in range(max(1, ENOUGH_CONTROLS // max(1, lost.sum()))):
        for i in np.flatnonzero(lost):
            rows = np.flatnonzero(left)
            if len(rows):
                nearest = rows[np.square(features[rows] - features[i]).sum(1).argmin()]
                taken[nearest], left[nearest] = True, False
    return taken
