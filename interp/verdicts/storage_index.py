"""Storage index: where a fact's evidence lies between never-stored and specifically retained facts.

1. A kind of evidence becomes z = (evidence - N) / (R - N), with N the median of never-stored facts and R
   that of specifically retained ones: 0 is nothing, 1 what a retained fact typically has.
2. A kind enters where its anchors are *apart*: where what a share ``alpha`` of never-stored facts exceeds
   lies below the median of retained ones, so that at this rate it finds at least half of them.
3. There are two ways of looking. Other wordings (``forms``) need no intervention. Under other attention
   (``REPAIRS``) the wording is the asked one: which repair a fact needs is a guess, a wrong one says nothing
   against storage, so the largest z counts. Each way is put on the scale of its own anchors again.
4. The index is the mean over the ways, on the scale of its anchors. A mean, for *intact* is a claim that
   nothing is missing, which every way has to bear out; that one way suffices for *stored* is seen to by the
   rule on facts that are still stated in every form (:mod:`interp.verdicts.diagnosis`).

``asked`` does not enter: being right when asked is how retained facts were chosen and lost ones were not.
These rules were written down before any index was compared with what facts are restored by relearning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from torch import Tensor

from interp.stats.bootstrap import bootstrap
from interp.stats.weighted import weighted_median

Values = Float[ndarray, "fact kind"]
REPAIRS = ("boost", "patterns", "all_patterns", "sibling", "all_sibling")
WORDINGS, ATTENTION = "wordings", "attention"  # the two ways of looking
DRAWS = 500  # of anchors, for a fact's interval


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Evidence of facts that are never stored and of facts that are specifically retained, [fact, kind]."""

    never: Values
    retained: Values
    kinds: tuple[str, ...]

    def apart(self, alpha: float) -> Bool[ndarray, " kind"]:
        """Return which kinds find at least half of the retained facts where ``alpha`` of others pass."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of kinds that were measured on no fact
            cut = np.nanquantile(self.never, 1 - alpha, axis=0)
            return np.asarray(cut < np.nanmedian(self.retained, axis=0))

    def by_way(self) -> dict[str, Bool[ndarray, " kind"]]:
        """Return which kinds each way of looking has; a kind that is neither is a way of its own."""
        names = [ATTENTION if k in REPAIRS else WORDINGS if k == "forms" else k for k in self.kinds]
        return {way: np.array([name == way for name in names]) for way in dict.fromkeys(names)}

    def of(self, chosen: Bool[ndarray, " kind"]) -> Anchors:
        """Return some of the kinds."""
        kinds = tuple(kind for kind, wanted in zip(self.kinds, chosen, strict=True) if wanted)
        return Anchors(never=self.never[:, chosen], retained=self.retained[:, chosen], kinds=kinds)


def storage_index(
    evidence: Values, anchors: Anchors, weights: Float[ndarray, "draw anchor"] | None = None
) -> Float[ndarray, "draw fact"]:
    """Place evidence between the anchors; NaN for facts without any, and for all where no kind is given.

    Args:
        evidence: of the facts, of the anchors' kinds.
        anchors: what 0 and 1 are.
        weights: how often each anchor counts, the never-stored ones first; once without them.
    """
    n, both = len(anchors.never), len(anchors.never) + len(anchors.retained)
    weights = np.ones((1, both)) if weights is None else weights
    rows = np.concatenate([anchors.never, anchors.retained, evidence])

    def anchored(column: Float[ndarray, "draw row"]) -> Float[ndarray, "draw row"]:
        column = np.broadcast_to(column, (len(weights), len(rows)))
        zero = weighted_median(column[:, :n], weights[:, :n])[:, None]
        span = weighted_median(column[:, n:both], weights[:, n:])[:, None] - zero
        return (column - zero) / np.where(span > 0, span, np.nan)

    z = {kind: anchored(rows[None, :, k]) for k, kind in enumerate(anchors.kinds)}
    repairs = [values for kind, values in z.items() if kind in REPAIRS]
    ways = [values for kind, values in z.items() if kind not in REPAIRS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of facts without evidence
        if repairs:
            ways.append(anchored(np.nanmax(repairs, axis=0)))
        if not ways:
            return np.full((len(weights), len(evidence)), np.nan)
        return anchored(np.nanmean(ways, axis=0))[:, both:]


def index_interval(
    evidence: Values, anchors: Anchors, subjects: Shaped[ndarray, " anchor"], *, seed: int = 0
) -> tuple[Float[ndarray, " fact"], Float[ndarray, " fact"]]:
    """Return the 95% bounds of each fact's index over which anchors were drawn, by their subjects.

    Args:
        evidence: of the facts.
        anchors: what 0 and 1 are.
        subjects: of the anchors, the never-stored ones first.
        seed: of the draws.
    """
    if not anchors.kinds:
        return (np.full(len(evidence), np.nan),) * 2
    return bootstrap(
        lambda weights: storage_index(evidence, anchors, weights).T,
        subjects,
        cells=evidence.size + anchors.never.size + anchors.retained.size,
        method="percentile",
        resamples=DRAWS,
        seed=seed,
    )


def evidence_table(values: Mapping[str, Tensor], kinds: Sequence[str]) -> Values:
    """Stack kinds of evidence as columns."""
    return np.stack([values[kind].double().numpy() for kind in kinds], axis=1)
