"""Numbers of recovery: how often lessons restore facts of each class, and what foretells which of them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analyses.common.lessons import LESSON, PLACEBO, REPEATED
from analyses.common.numbers import Tree, area, area_gain, mean_of
from interp.verdicts.diagnosis import ERASED, GENERIC, LEARNED, RETAINED, STORED, VERDICTS

CONTROL, LOST = "control", "lost"
STATED = "stated_share"  # the order of the verdicts on lost facts: intact, eroded, erased
# What is held against it: how specific the right answer is, in nats, in the held-out forms and as asked.
EVIDENCE = ("evidence_forms", "evidence_asked")
RECOGNITION = "recognition"  # of the facts that were probed


def lesson_steps(rows: pd.DataFrame) -> list[int]:
    """Return after how many steps of a lesson the rows' facts were asked."""
    first = f"{LESSON}_"
    return sorted(int(str(c).removeprefix(first)) for c in rows if str(c).startswith(first))


def recovery_trees(rows: pd.DataFrame) -> Tree:
    """Return ``lesson``, of facts whose answer is not their relation's commonest, and ``lesson_all``.

    A model that is reminded of a form gives the commonest answers more often, to whomever: such an answer
    comes right without any knowledge of the subject.

    Args:
        rows: of one seed, a row a fact and arm.
    """
    if not lesson_steps(rows):
        return {}
    return {
        "lesson": recovery_numbers(rows[~has_commonest_answer(rows)]),
        "lesson_all": recovery_numbers(rows),
    }


def has_commonest_answer(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return whether a fact's answer is its relation's commonest, which several facts must share."""
    facts = rows.drop_duplicates("fact_id")
    counts = facts.groupby(["relation", "answer"]).size()
    most = counts.groupby("relation").transform("max")
    common = counts[(counts == most) & (counts > 1)].index
    return pd.Series(pd.MultiIndex.from_frame(rows[["relation", "answer"]]).isin(common), index=rows.index)


def recovery_numbers(rows: pd.DataFrame) -> Tree:
    """Return for each number of steps: restored by class, the placebo's, AUROCs, and the verdict's lead.

    Args:
        rows: of one seed, a row a fact and arm, with ``restored_N`` and ``placebo_N``; AUROCs are averaged
            over arms.
    """
    tree: Tree = {}
    for step in lesson_steps(rows):
        restored, placebo = f"{LESSON}_{step}", f"{PLACEBO}_{step}"
        groups = recovery_groups(rows)
        change = {name: some[restored] - some[placebo] for name, some in groups.items()}
        tree[f"after_{step}"] = {
            "restored": {name: mean_of(some[restored], some) for name, some in groups.items()},
            "placebo": {name: mean_of(some[placebo], some) for name, some in groups.items()},
            "above_placebo": {
                name: mean_of(change[name], some, difference=True) for name, some in groups.items()
            },
            **_foretold(groups[LOST], step),
        }
    return tree


def recovery_groups(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the wrong facts of each class, all lost ones, and the controls: right in no form of the base."""
    wrong = rows[~rows["right"].astype(bool)]
    classes = [verdict for verdict in VERDICTS if verdict not in (RETAINED, GENERIC, LEARNED)]
    return {
        **{verdict_key(name): wrong[wrong["verdict"] == name] for name in classes},
        LOST: wrong[wrong["base_knew"] == 1],
        CONTROL: wrong[wrong["control_never"]],
    }


def verdict_key(verdict: str) -> str:
    """Name a verdict in results.json."""
    return verdict.replace(",", "").replace(" ", "_")


def _foretold(lost: pd.DataFrame, step: int) -> Tree:
    """Measure how well the verdict, graded evidence and other lessons foretell restoration among lost facts.

    ``auroc_decided`` is without those that are undetermined, of which a verdict foretells nothing.
    """
    restored, repeated = f"{LESSON}_{step}", f"{REPEATED}_{step}"
    held_against = {short_name(name): name for name in EVIDENCE}
    further = {REPEATED: repeated, RECOGNITION: RECOGNITION}
    held_against |= {name: column for name, column in further.items() if column in lost}
    within = "arm" if "arm" in lost else None
    decided = lost[lost["verdict"].isin((*STORED, ERASED))]
    return {
        **{
            key: {
                name: area(some, column, restored, within=within)
                for name, column in {short_name(STATED): STATED, **held_against}.items()
            }
            for key, some in (("auroc", lost), ("auroc_decided", decided))
        },
        "stated_minus": {
            name: area_gain(lost, STATED, column, restored, within=within)
            for name, column in held_against.items()
        },
    }


def short_name(column: str) -> str:
    """Name a predictor in results.json."""
    return column.removeprefix("evidence_").removesuffix("_share")
