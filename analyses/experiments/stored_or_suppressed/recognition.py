"""Recognition of facts that arms lost: whether a probe tells their right answers, and what that foretells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analyses.common.numbers import Tree, area, mean_of
from interp.measures.hidden_knowledge import RANKED
from interp.reports.pages.results_tables import results_table
from interp.reports.pages.study import StudyTable
from interp.reports.read.results import Results
from interp.stats import Estimate, detection_rate
from interp.verdicts.controls import NEVER
from interp.verdicts.diagnosis import ERASED

OTHER_NAME = "_swapped"
ANSWER = "relation and answer"


def recognition_numbers(rows: pd.DataFrame) -> Tree:
    """Compare recognition of lost facts with that of never-stored ones, and with what is stated.

    A fact is *recognised* above a cut that a further never-stored fact would exceed in 5% of the cases at
    most (:mod:`interp.stats.detection`). Each number stands beside the same behind another subject's name,
    which tells how common the right answers are; among facts of one answer (``same_answer``, and of the
    erased ones ``erased``) that is alike.

    Args:
        rows: an arm's, a row a fact.
    """
    if "recognition" not in rows or rows["recognition"].isna().all():
        return {}
    some = rows[rows["recognition"].notna() & rows["stated_share"].notna()]
    lost, never = some[(some["base_knew"] == 1) & ~some["right"].astype(bool)], some[some[f"control_{NEVER}"]]
    erased = lost[lost["verdict"] == ERASED]

    def share(these: pd.DataFrame, column: str, *, beyond_stated: bool = False) -> Estimate:
        both = pd.concat([these, never])
        stated = (both["stated_share"] > 0).to_numpy(np.float64) if beyond_stated else None
        return detection_rate(
            both[column].to_numpy(np.float64),
            np.arange(len(both)) >= len(these),
            groups=both["subject"].to_numpy(),
            less=stated,
        )

    both, tree = pd.concat([lost.assign(lost=1.0), never.assign(lost=0.0)]), Tree()
    both[ANSWER] = both["relation"] + ": " + both["answer"]
    is_erased = both["verdict"] == ERASED
    for suffix in ("", OTHER_NAME):
        column = f"recognition{suffix}"
        tree[f"above_never{suffix}"] = area(both, column, "lost")
        for name, rest in (("same_answer", both), ("erased", both[(both["lost"] == 0) | is_erased])):
            tree[f"{name}_above_never{suffix}"] = area(rest, column, "lost", within=ANSWER)
        tree[f"of_lost{suffix}"] = share(lost, column)
    return tree | {
        "of_erased": share(erased, "recognition"),
        "stated_of_lost": mean_of(lost["stated_share"] > 0, lost),
        "difference": share(lost, "recognition", beyond_stated=True),
    }


def recognition_table(results: Results) -> StudyTable:
    """Lay out by arm who is recognised: lost, erased and never-stored facts, beside another name's."""
    return results_table(
        "Recognition: lost facts whose right answer a probe tells from wrong ones",
        ("Arm",),
        {(arm,): numbers.part("recognition") for arm, numbers in results.below("arms").items()},
        {
            "Lost above never stored, AUROC": ("above_never", "2?"),
            "Another name, AUROC": (f"above_never{OTHER_NAME}", "2?"),
            "Of one answer, AUROC": ("same_answer_above_never", "2?"),
            "Erased, of one answer, AUROC": ("erased_above_never", "2?"),
            "The same, another name": (f"erased_above_never{OTHER_NAME}", "2?"),
            "Recognised, % of lost": ("of_lost", "%"),
            "Stated, % of lost": ("stated_of_lost", "%"),
            "Recognised, % of erased": ("of_erased", "%"),
            "Another name, % of lost": (f"of_lost{OTHER_NAME}", "%"),
        },
        note="The score of a linear probe at two thirds of the layers, the right answer's less the mean of "
        f"up to {RANKED} wrong ones'; trained on known facts of other subjects. Recognised: above a cut that "
        "a further never-stored fact exceeds in 5% of the cases at most; it takes 19 that were probed. It "
        "has no part in the verdicts.",
    )
