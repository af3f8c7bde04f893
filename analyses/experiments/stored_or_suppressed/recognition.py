"""Recognition of facts that arms lost: whether a probe tells their right answers, and what that foretells."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analyses.common.numbers import Tree, area, mean_of
from interp.measures.hidden_knowledge import RANKED
from interp.reports.pages.results_tables import results_table
from interp.reports.pages.study import StudyTable
from interp.reports.read.results import Results
from interp.verdicts.controls import NEVER
from interp.verdicts.diagnosis import ERASED

FEWEST_NEVER = 20  # never-stored facts, of which 5% may lie above the cut
OTHER_NAME = "_swapped"


def recognition_numbers(rows: pd.DataFrame) -> Tree:
    """Compare recognition of lost facts with that of never-stored ones, and with what is stated.

    A fact is *recognised* above the 95th percentile of the never-stored facts. Each number stands beside the
    same behind another subject's name.

    Args:
        rows: an arm's, a row a fact.
    """
    if "recognition" not in rows or rows["recognition"].isna().all():
        return {}
    some = rows[rows["recognition"].notna() & rows["stated_share"].notna()]
    lost, never = some[(some["base_knew"] == 1) & ~some["right"].astype(bool)], some[some[f"control_{NEVER}"]]
    both = pd.concat([lost.assign(lost=1.0), never.assign(lost=0.0)])
    tree: Tree = {}
    for suffix in ("", OTHER_NAME):
        column = f"recognition{suffix}"
        tree[f"above_never{suffix}"] = area(both, column, "lost")
        if len(never) >= FEWEST_NEVER:
            cut = np.quantile(never[column], 0.95, method="inverted_cdf")  # at most 5% lie above
            tree[f"of_lost{suffix}"] = mean_of(lost[column] > cut, lost)
            tree[f"of_never{suffix}"] = mean_of(never[column] > cut, never)
            if not suffix:
                stated, erased = lost["stated_share"] > 0, lost[lost["verdict"] == ERASED]
                tree["of_erased"] = mean_of(erased[column] > cut, erased)
                tree["stated_of_lost"] = mean_of(stated, lost)
                gain = (lost[column] > cut).astype(float) - stated.astype(float)
                tree["difference"] = mean_of(gain, lost, difference=True)
    return tree


def recognition_table(results: Results) -> StudyTable:
    """Lay out by arm who is recognised: lost, erased and never-stored facts, beside another name's."""
    return results_table(
        "Recognition: lost facts whose right answer a probe tells from wrong ones",
        ("Arm",),
        {(arm,): numbers.part("recognition") for arm, numbers in results.below("arms").items()},
        {
            "Lost above never stored, AUROC": ("above_never", "2?"),
            "Another name, AUROC": (f"above_never{OTHER_NAME}", "2?"),
            "Recognised, % of lost": ("of_lost", "%"),
            "Stated, % of lost": ("stated_of_lost", "%"),
            "Recognised, % of erased": ("of_erased", "%"),
            "Another name, % of lost": (f"of_lost{OTHER_NAME}", "%"),
            "Recognised, % of never stored": ("of_never", "%"),
        },
        note="The score of a linear probe at two thirds of the layers, the right answer's less the mean of "
        f"up to {RANKED} wrong ones'; trained on known facts of other subjects. Recognised: above 95% of the "
        "never-stored facts. It has no part in the verdicts.",
    )
