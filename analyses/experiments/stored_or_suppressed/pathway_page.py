"""The pathway table, and a sentence an arm: which group of weights carries the loss, or that none does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyses.common.checkpoints import BASE
from analyses.experiments.stored_or_suppressed.pathway import SIBLING
from interp.reports.pages.results_tables import Column, results_table, write_number, write_share_of
from interp.weight_edits import GROUPS

if TYPE_CHECKING:
    from interp.reports.pages.study import StudyTable
    from interp.reports.read.results import Results

_COLUMNS: tuple[tuple[str, Column], ...] = (
    ("n", lambda part: int(part.at("shapley")["n"])),
    ("From the base", ("shapley", "%")),
    ("Base, alone", ("alone", "%")),
    ("Base, placebo", ("placebo", "%")),
    ("Base, log p, nats", ("nats", "2")),
    ("From the sibling", ("sibling", "%")),
    ("Sibling, alone", ("sibling_alone", "%")),
    ("Sibling, placebo", ("sibling_placebo", "%")),
    ("Sibling, log p, nats", ("sibling_nats", "2")),
)


def pathway_table(results: Results) -> StudyTable:
    """Lay out, by arm and group of weights, what grafts bring back of the lost facts."""
    arms = results.below("arms")
    rows = {
        (arm, title): part.part(f"pathway/{group}")
        for arm, part in arms.items()
        for group, title in GROUPS.items()
        if part.below(f"pathway/{group}")
    }
    alone = len(results.below("seeds")) == 1
    told = " ".join(
        pathway_sentence(arm, part.part("pathway"), one_training=alone) for arm, part in arms.items()
    )
    return results_table(
        "Which weights carry the loss: lost facts answered right with weights from elsewhere",
        ("Arm", "Weights"),
        rows,
        _COLUMNS,
        note="No arm has a lost fact that was asked with grafted weights."
        if not rows
        else f"{told} Shapley shares over the 16 subsets of groups, % of lost facts; they add up to what all "
        "weights together bring back, which is the donor itself. Alone: this group only. Placebo: the "
        "Shapley share of random updates of the same norm, tensor by tensor. n: lost facts asked, or "
        "trainings.",
    )


def pathway_sentence(arm: str, numbers: Results, *, one_training: bool = False) -> str:
    """Say which group carries an arm's loss, by each donor.

    It does if its share is above its placebo's and above that of every other group, and if it raises log p of
    the answer, all by their intervals: facts that were picked for being wrong are also put right by luck.

    Args:
        arm: what it is called.
        numbers: its pathway's.
        one_training: whether numbers count facts, those of one training, and not trainings.
    """
    told = [
        _by_donor(numbers, donor, prefix, one_training)
        for donor, prefix in ((BASE, ""), (SIBLING, "sibling_"))
        if numbers.at(f"restored/{donor}")["value"] is not None
    ]
    return f"{arm}: {'; '.join(told)}." if told else f"{arm}: no lost fact was asked with grafted weights."


def _by_donor(numbers: Results, donor: str, prefix: str, one_training: bool) -> str:
    restored = write_share_of(numbers.at(f"restored/{donor}"), "lost facts", one_training=one_training)
    start = f"with the {donor}'s weights {restored} come back"
    helpful = [
        group
        for group in GROUPS
        if _is_above(numbers, f"{group}/{prefix}above_placebo")
        and _is_above(numbers, f"{group}/{prefix}nats")
    ]
    for group in helpful:
        if _is_above(numbers, f"{group}/{prefix}lead"):
            share = write_number(numbers.at(f"{group}/{prefix or 'shapley'}".rstrip("_")), "%")
            placebo = write_number(numbers.at(f"{group}/{prefix}placebo"), "%")
            return f"{start}, and {GROUPS[group]} carry most of it ({share}; placebo {placebo})"
    if helpful:
        named = " and ".join(GROUPS[group] for group in helpful)
        return f"{start}; {named} bring back more than their placebo, none of them clearly most"
    return f"{start}; which weights carry the loss cannot be told from it"


def _is_above(numbers: Results, place: str) -> bool:
    return (numbers.at(place)["low"] or 0) > 0
