"""How far proxies for popularity agree: rank correlations, and whether they would take the same half.

Every number is over the facts that both proxies say something of, with a bootstrap over subjects. Correlated
are all facts, and facts within their relation: log-probabilities differ between relations (some answers are
longer, some come from smaller sets), which says nothing of how often a fact was met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.numbers import tree_to_json
from analyses.experiments.popularity_proxies.proxies import PLACEBO, PROXIES
from finetune.common.errors import InputError
from interp.stats import Estimate, shared_halves, spearman_matrix
from interp.stats.bootstrap import FEWEST

KINDS = ("spearman", "within_relation", "top_half")


def agreement(frame: pd.DataFrame, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Compare every pair of proxies.

    Args:
        frame: a row a fact, as :func:`analyses.experiments.popularity_proxies.proxies.measure_proxies`
            makes it.
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
    rows = frame.assign(group=frame["subject"].str.casefold())
    tree: dict[str, Any] = {kind: {name: {} for name in names[:-1]} for kind in KINDS}
    for there, pairs in _by_rows(rows, names):
        some = rows[there]
        columns = sorted({name for pair in pairs for name in pair}, key=names.index)
        forms: dict[str, tuple[dict[str, Any], Callable[..., list[list[Estimate]]]]] = {
            "spearman": ({n: some[n] for n in columns}, spearman_matrix),
            "within_relation": ({n: _place_within(some, n) for n in columns}, spearman_matrix),
            "top_half": ({n: some.groupby("group")[n].transform("max") for n in columns}, shared_halves),
        }
        for kind, (held, statistic) in forms.items():
            values = np.column_stack([held[name].to_numpy(dtype=np.float64) for name in columns])
            found = statistic(values, groups=some["group"].to_numpy())
            for a, b in pairs:
                tree[kind][a][b] = found[columns.index(a)][columns.index(b)]
    return dict(tree_to_json({kind: _in_order(part, names) for kind, part in tree.items()}))


def _by_rows(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[Any, list[tuple[str, str]]]]:
    """Put together the pairs that say something of the same facts; yield which facts, and the pairs."""
    found: dict[bytes, tuple[Any, list[tuple[str, str]]]] = {}
    for pair in combinations(names, 2):
        there = frame[list(pair)].notna().all(axis=1).to_numpy()
        found.setdefault(there.tobytes(), (there, []))[1].append(pair)
    yield from found.values()


def _in_order(part: dict[str, dict[str, Any]], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {a: {b: row[b] for b in names if b in row} for a, row in part.items()}


def _place_within(rows: pd.DataFrame, name: str) -> pd.Series[float]:
    """Rank facts within their relation, from -1/2 to 1/2; the only fact of one is in the middle."""
    groups = rows.groupby("relation")[name]
    size = groups.transform("size")
    return (groups.rank() - (size + 1) / 2) / size
