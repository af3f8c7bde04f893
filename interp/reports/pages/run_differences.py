"""How far the numbers of two runs lie apart, fact by fact, where both asked the same facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.reports.pages.sentences import Kind
from interp.reports.read.run import NotMeasured, Run
from interp.stats import Estimate, estimate, over_seeds, overlap_of

if TYPE_CHECKING:
    import pandas as pd

KEY = ["seed", "fact_id"]
SAME = ["seed", "fact_id", "subject", "relation", "answer"]


def shared_facts(first: Run, other: Run) -> tuple[int, int, int]:
    """Count the facts, by seed, that both runs asked, and those of each."""
    a, b = (set(map(tuple, _facts(run)[SAME].astype(str).to_numpy())) for run in (first, other))
    return len(a & b), len(a), len(b)


def run_difference(first: Run, other: Run, name: str, kind: Kind) -> Estimate:
    """Estimate ``other`` minus ``first`` of an arm, or of a contrast such as top_minus_bottom, by fact.

    A bootstrap over subjects where there is one seed; a t-interval over the seeds' differences where there
    are several, as in the runs themselves.

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
    subjects = _facts(first).set_index(KEY)["subject"].reindex(apart.index)
    estimates = [
        estimate(part.to_numpy(float), groups=subjects[part.index].to_numpy(str), difference=True)
        for _, part in apart.groupby(level="seed")
    ]
    if not estimates:
        raise NotMeasured("not measured in both")
    overlap = max(overlap_of(run.facts) for run in (first, other))
    return estimates[0] if len(estimates) == 1 else over_seeds(estimates, overlap=overlap)


def _values(run: Run, name: str, kind: Kind) -> pd.Series:
    """Take one number of every fact, indexed by seed and fact: an arm's, or the difference of two arms'."""
    arms = name.rsplit("_minus_", 1) if name not in run.arms else [name]
    taken = [_of_arm(run, arm, kind) for arm in arms]
    return taken[0] if len(taken) == 1 else taken[0] - taken[1]


def _of_arm(run: Run, arm: str, kind: Kind) -> pd.Series:
    rows = run.facts[run.facts["arm"] == arm].drop_duplicates(KEY).set_index(KEY).sort_index()
    column = "subject_attention" if kind == "subject_attention" else "correct"
    if column not in rows or not len(rows):
        raise NotMeasured("not measured in both")
    if kind == "accuracy_known":
        if "known" not in rows:
            raise NotMeasured("not measured in both")
        rows = rows[rows["known"].fillna(False).astype(bool)]
    return rows[column].astype(float)


def _facts(run: Run) -> pd.DataFrame:
    return run.facts.drop_duplicates(KEY)
