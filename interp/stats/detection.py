"""Detection: the share of rows above a cut that a control rarely exceeds, with an interval.

The cut is the n controls' order statistic of the rank ceil((1 - alpha) (n + 1)), which a further control of
the same kind exceeds with a probability of alpha at most (split conformal prediction: Vovk et al., 2005,
*Algorithmic Learning in a Random World*). Their own 95th percentile is exceeded more often: with 20 controls
in 9.6% of the cases. The interval draws the controls' subjects as well, and takes the cut anew in each draw.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from interp.stats.bootstrap import Statistic, of_rows
from interp.stats.result import Estimate

FALSE_POSITIVES = 0.05


def control_cut(controls: Float[ndarray, " control"], false_positives: float = FALSE_POSITIVES) -> float:
    """Return the cut that a further control exceeds with this probability at most; infinite of too few."""
    rank = int(_rank(len(controls), false_positives))
    return float(np.sort(controls)[rank - 1]) if 0 < rank <= len(controls) else math.inf


def detection_rate(
    values: Float[ndarray, " row"],
    control: Bool[ndarray, " row"],
    *,
    groups: Shaped[ndarray, " row"],
    less: Float[ndarray, " row"] | None = None,
    false_positives: float = FALSE_POSITIVES,
    seed: int = 0,
) -> Estimate:
    """Estimate the share of rows above the controls' cut; none where there are too few controls.

    Args:
        values: the predictor.
        control: which rows are controls; the others are those to detect.
        groups: the subject of each row.
        less: what another predictor says of each row, 0 or 1: its share is subtracted, on the same rows.
        false_positives: with which probability a further control exceeds the cut, at most.
        seed: of the draws.

    Raises:
        InputError: columns of different lengths.
    """
    other = np.zeros(len(values)) if less is None else less

    def plain(x: ndarray, is_control: ndarray, taken: ndarray) -> float | None:
        held = is_control.astype(bool)
        cut = control_cut(x[held], false_positives)
        if held.all() or math.isinf(cut):
            return None
        return float(((x > cut) - taken)[~held].mean())

    def weighted(x: ndarray, is_control: ndarray, taken: ndarray) -> Statistic:
        return _share_of(x, is_control.astype(bool), taken, false_positives)

    columns = [np.asarray(part, dtype=np.float64) for part in (values, control, other)]
    found = of_rows(weighted, plain, columns, groups, seed=seed)
    asked = int((~np.isnan(columns[0] + columns[2]) & (columns[1] == 0)).sum())
    return replace(found, n=asked)


def _share_of(
    x: Float[ndarray, " row"],
    control: Bool[ndarray, " row"],
    taken: Float[ndarray, " row"],
    false_positives: float,
) -> Statistic:
    """Return the share above the cut of drawn controls, less what is taken, as a function of weights."""
    order = np.argsort(x[control], kind="stable")
    cuts, asked, subtracted = x[control][order], x[~control], taken[~control]

    def share(weights: Float[ndarray, "draw row"]) -> Float[ndarray, " draw"]:
        reached = np.cumsum(weights[:, control][:, order], axis=1)
        above_rank = reached >= _rank(reached[:, -1:], false_positives)
        cut = np.where(above_rank.any(1), cuts[above_rank.argmax(1)], np.inf)
        drawn = weights[:, ~control]
        above = (asked[None] > cut[:, None]) - subtracted
        with np.errstate(invalid="ignore"):
            return (drawn * above).sum(1) / drawn.sum(1)

    return share


def _rank(controls: Float[ndarray, "*shape"] | int, false_positives: float) -> Float[ndarray, "*shape"]:
    """Return the rank of the cut among so many controls; beyond them where they are too few."""
    return np.ceil((1 - false_positives) * (np.asarray(controls) + 1) - 1e-9)  # a product that rounds up
