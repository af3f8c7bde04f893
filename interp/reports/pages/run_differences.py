"""How far the numbers of two runs lie apart, fact by fact, where both asked the same facts."""

from __future__ import annotations

import pandas as pd

from interp.reports.read.run import MeasuredEstimate, NotMeasured, Run
from interp.stats import estimate, over_seeds, overlap_of

KEY = ["seed", "fact_id"]
SAME = [*KEY, "subject", "relation", "answer"]


def shared_facts(first: Run, other: Run) -> tuple[int, int, int]:
    """Count the facts, by seed, that both runs asked, and those of each."""
    a, b = (set(map(tuple, run.facts[SAME].astype(str).to_numpy())) for run in (first, other))
    return len(a & b), len(a), len(b)


def run_difference(first: Run, other: Run, name: str, kind: str) -> MeasuredEstimate:
    """Estimate ``other`` minus ``first`` by fact.

    A bootstrap over subjects where there is one seed; a t-interval over the seeds' differences where there
    are several, as in the runs themselves.

    Args:
        first: the one run.
        other: the other.
        name: an arm, or a contrast such as top_minus_bottom.
        kind: which of its numbers.

    Raises:
        NotMeasured: the runs asked other facts, their bases know other facts, or one lacks the number.
    """
    common, n, m = shared_facts(first, other)
    if not common == n == m:
        raise NotMeasured("not comparable: other facts")
    before, after = (_values(run, name, kind) for run in (first, other))
    if kind == "accuracy_known" and not before.index.equals(after.index):
        raise NotMeasured("not comparable: the bases know other facts")
    apart = (after - before.reindex(after.index)).dropna()
    subjects = first.facts.drop_duplicates(KEY).set_index(KEY)["subject"].reindex(apart.index)
    each = [
        estimate(part.to_numpy(float), groups=subjects[part.index].to_numpy(str), difference=True)
        for _, part in apart.groupby(level="seed")
    ]
    overlap = max(overlap_of(run.facts) for run in (first, other))
    found = each[0] if len(each) == 1 else over_seeds(each, overlap=overlap) if each else None
    if found is None or found.value is None:
        raise NotMeasured("not measured in both")
    return MeasuredEstimate(value=found.value, low=found.low, high=found.high, n=found.n)


def _values(run: Run, name: str, kind: str) -> pd.Series:
    """Take one number of every fact, indexed by seed and fact: an arm's, or the difference of two arms'."""
    column = "subject_attention" if kind == "subject_attention" else "correct"
    parts = []
    for arm in [name] if name in run.arms else name.rsplit("_minus_", 1):
        rows = run.facts[run.facts["arm"] == arm].drop_duplicates(KEY).set_index(KEY).sort_index()
        if not len(rows) or not {column, "known" if kind == "accuracy_known" else column} <= set(rows):
            raise NotMeasured("not measured in both")
        kept = rows["known"].fillna(False).astype(bool) if kind == "accuracy_known" else slice(None)
        parts.append(rows.loc[kept, column].astype(float))
    return parts[0] if len(parts) == 1 else parts[0] - parts[1]
