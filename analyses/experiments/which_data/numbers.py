"""Numbers of a choice: what was kept and dropped, over all, by relation and by answer type."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.numbers import mean_of
from analyses.experiments.which_data.advice import NOT_ASKED
from analyses.experiments.which_data.steps import CLASS, ChosenFacts, choice_frame
from finetune.evaluation.consistency import MAYBE
from interp.selection.choose import choose
from interp.stats import Estimate, estimate, median, spearman


def results(made: ChosenFacts) -> dict[str, Any]:
    """Return medians of the score and of popularity, coverage by relation and type, and how scores agree.

    Medians have a bootstrap over subjects; ``share`` is of the candidates, which are all there are, so that
    it has no interval.
    """
    frame = choice_frame(made)
    frame["score"] = made.own
    sides = {"kept": frame[frame["kept"]], "dropped": frame[~frame["kept"]], "all": frame}
    asked = frame[frame[CLASS] > NOT_ASKED]
    return {
        "known": asdict(mean_of(asked[CLASS] >= MAYBE, asked)),
        "sides": {name: _side(some) for name, some in sides.items()},
        "relations": {str(name): _group(some) for name, some in frame.groupby("relation")},
        "answer_types": {
            f"{relation}: {kind}": _group(some)
            for (relation, kind), some in frame.groupby(["relation", "answer_type"])
        },
        "scores": {name: _agreement(made, frame, name) for name in made.values if name != made.score},
    }


def _side(rows: pd.DataFrame) -> dict[str, Any]:
    told = {"score": asdict(_median(rows, "score"))}
    told["subjects"] = asdict(_count(rows["subject"].str.casefold().nunique(), len(rows)))
    if rows["popularity"].notna().all():
        told["popularity"] = asdict(_median(rows, "popularity"))
    for name in ("relation", "answer_type", "answer"):
        distinct = rows[["relation", name]].drop_duplicates() if name != "relation" else rows[name].unique()
        told[f"{name}s"] = asdict(_count(len(distinct), len(rows)))
    return told


def _group(rows: pd.DataFrame) -> dict[str, Any]:
    kept = rows["kept"].to_numpy()
    return {
        "share": asdict(Estimate(value=float(kept.mean()), low=None, high=None, n=len(rows))),
        "score": asdict(replace(_median(rows, "score"), low=None, high=None)),
        "answers": asdict(_count(rows["answer"].nunique(), len(rows))),
        "answers_kept": asdict(_count(rows.loc[kept, "answer"].nunique(), int(kept.sum()))),
    }


def _agreement(made: ChosenFacts, frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """Say how far another score would choose the same facts: the shared part, and the ranks' correlation."""
    options = made.options
    other = choose(made.values[name], made.facts, options.share, floor=options.floor, seed=options.seed)
    subjects = frame["subject"].to_numpy()
    shared = estimate(other.kept[made.choice.kept].astype(float), groups=subjects[made.choice.kept])
    both = np.isfinite(made.own) & np.isfinite(made.values[name])
    columns = [made.own[both], made.values[name][both]]
    return {
        "shared": asdict(shared),
        "rank_correlation": asdict(spearman(*columns, groups=subjects[both], fewest=1)),
    }


def _median(rows: pd.DataFrame, column: str) -> Estimate:
    values = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
    return median(values, groups=rows["subject"].to_numpy())


def _count(value: int, n: int) -> Estimate:
    return Estimate(value=float(value), low=None, high=None, n=n)
