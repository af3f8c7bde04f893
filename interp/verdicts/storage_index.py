"""Storage index: where a fact's evidence lies between never-stored and specifically retained facts.

z = (evidence - N) / (R - N), with N the median of never-stored facts and R that of specifically retained
ones: 0 is nothing, 1 what a retained fact typically has.

There is an index only where the anchors are *apart*: where what a share ``alpha`` of never-stored facts
exceeds lies below the median of retained ones, so that at this rate it finds at least half of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from interp.stats.bootstrap import bootstrap
from interp.stats.weighted import weighted_median

Values = Float[ndarray, " fact"]
DRAWS = 500  # of anchors, for a fact's interval


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Evidence of facts that are never stored and of facts that are specifically retained."""

    never: Float[ndarray, " never"]
    retained: Float[ndarray, " retained"]

    def apart(self, alpha: float) -> bool:
        """Tell whether half of the retained facts are found where ``alpha`` of the others pass."""
        never = self.never[~np.isnan(self.never)]
        if not len(never) or np.isnan(self.retained).all():
            return False
        return bool(np.quantile(never, 1 - alpha) < np.nanmedian(self.retained))


def storage_index(
    evidence: Values, anchors: Anchors, weights: Float[ndarray, "draw anchor"] | None = None
) -> Float[ndarray, "draw fact"]:
    """Place evidence between the anchors; NaN for facts without any.

    Args:
        evidence: of the facts.
        anchors: what 0 and 1 are.
        weights: how often each anchor counts, the never-stored ones first; once without them.
    """
    n, both = len(anchors.never), len(anchors.never) + len(anchors.retained)
    weights = np.ones((1, both)) if weights is None else weights

    def median(values: Float[ndarray, " anchor"], counts: Float[ndarray, "draw anchor"]) -> ndarray:
        return weighted_median(np.broadcast_to(values, counts.shape), counts)[:, None]

    zero = median(anchors.never, weights[:, :n])
    span = median(anchors.retained, weights[:, n:]) - zero
    return (evidence[None] - zero) / np.where(span > 0, span, np.nan)


def index_interval(
    evidence: Values, anchors: Anchors, subjects: Shaped[ndarray, " anchor"], *, seed: int = 0
) -> tuple[Values, Values]:
    """Return the 95% bounds of each fact's index over which anchors were drawn, by their subjects.

    Args:
        evidence: of the facts.
        anchors: what 0 and 1 are.
        subjects: of the anchors, the never-stored ones first.
        seed: of the draws.
    """
    return bootstrap(
        lambda weights: storage_index(evidence, anchors, weights).T,
        subjects,
        cells=len(evidence) + len(anchors.never) + len(anchors.retained),
        method="percentile",
        resamples=DRAWS,
        seed=seed,
    )
