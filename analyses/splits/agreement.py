"""How far proxies for popularity agree: rank correlations, and whether they would take the same half.

Every number is over the facts that both proxies say something of, with a bootstrap over subjects. Correlated
are all facts, and facts within their relation: log-probabilities differ between relations (some answers are
longer, some come from smaller sets), which says nothing of how often a fact was met.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.lab.ranks import FEWEST, rank_correlation, resampled
from analyses.splits.proxies import PLACEBO, PROXIES
from analyses.trees import plain
from finetune.facts import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from jaxtyping import Float
    from numpy import ndarray

KINDS = ("spearman", "within_relation", "top_half")


def agreement(frame: pd.DataFrame, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Compare every pair of proxies.

    Args:
        frame: a row a fact, as :func:`analyses.splits.proxies.measured` makes it.
        names: which columns; all proxies and the placebo unless given.

    Returns:
        ``spearman``, ``within_relation`` and ``top_half``, each by first and second proxy (in their order)
        down to value, low, high and n. ``top_half`` is the share of one's more popular half that is also in
        the other's, 0.5 by chance: subjects count with their largest value, as in ``split``, and those
        that tie at the cut are in the half with the chance that a draw would give them.

    Raises:
        InputError: too few facts, or fewer than two proxies.
    """
    names = list(names or [name for name in (*PROXIES, PLACEBO) if name in frame])
    if len(names) < 2:
        raise InputError(f"proxies {', '.join(names) or 'none'}: give at least two to compare")
    if len(frame) < FEWEST:
        raise InputError(f"{len(frame)} facts: at least {FEWEST} are needed to compare proxies; give more")
    by_subject = frame.assign(group=frame["subject"].str.casefold())
    tree: dict[str, Any] = {kind: {name: {} for name in names[:-1]} for kind in KINDS}
    for a, b in combinations(names, 2):
        rows = by_subject.dropna(subset=[a, b])
        within = rows.assign(**{n: _place_within(rows, n) for n in (a, b)})
        largest = rows.assign(**{n: rows.groupby("group")[n].transform("max") for n in (a, b)})
        for kind, some, statistic in (
            ("spearman", rows, rank_correlation),
            ("within_relation", within, rank_correlation),
            ("top_half", largest, shared_half),
        ):
            tree[kind][a][b] = resampled(some, (a, b), statistic, groups="group")
    return dict(plain(tree))


def _place_within(rows: pd.DataFrame, name: str) -> pd.Series[float]:
    """Rank facts within their relation, from -1/2 to 1/2; the only fact of one is in the middle."""
    groups = rows.groupby("relation")[name]
    size = groups.transform("size")
    return (groups.rank() - (size + 1) / 2) / size


def shared_half(x: Float[ndarray, " row"], y: Float[ndarray, " row"]) -> float:
    """Return the expected share of the half with the larger x that is in the half with the larger y."""
    return float((_in_half(x) * _in_half(y)).sum() / (len(x) / 2))


def _in_half(values: Float[ndarray, " row"]) -> Float[ndarray, " row"]:
    """Return the chance of each row to be in the larger half, where ties are broken by a draw."""
    _, place, tied = np.unique(-values, return_inverse=True, return_counts=True)
    above = np.cumsum(tied) - tied
    return np.clip((len(values) / 2 - above) / tied, 0.0, 1.0)[place]
