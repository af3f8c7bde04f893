"""The pathway table, and a sentence an arm: which group of weights carries the loss, or that none does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyses.common.checkpoints import BASE
from analyses.experiments.stored_or_suppressed.pathway import SIBLING
from interp.reports.pages.results_tables import results_table, write_number
from interp.weight_edits import GROUPS

if TYPE_CHECKING:
    from interp.reports.pages.study import StudyTable
    from interp.reports.read.results import Results

_COLUMNS = (
    ("From the base", ("shapley", "%")),
    ("… alone", ("alone", "%")),
    ("… placebo", ("placebo", "%")),
    ("… log p, nats", ("nats", "2")),
    ("From the sibling", ("sibling", "%")),
    ("… alone", ("sibling_alone", "%")),
    ("… placebo", ("sibling_placebo", "%")),
    ("… log p, nats", ("sibling_nats", "2")),
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
    told = " ".join(pathway_sentence(arm, part.part("pathway")) for arm, part in arms.items())
    return results_table(
        "Which weights carry the loss: lost facts answered right with weights from elsewhere",
        ("Arm", "Weights"),
        rows,
        _COLUMNS,
        note=f"{told} Shapley shares over the 16 subsets of groups, % of lost facts; they add up to what all "
        "weights together bring back, which is the donor itself. Alone: this group only. Placebo: the "
        "Shapley share of random updates of the same norm, tensor by tensor.",
    )


def pathway_sentence(arm: str, numbers: Results) -> str:
    """Say which group carries an arm's loss, by each donor.

    It does if its share is above its placebo's and above that of every other group, both by their intervals.
    """
    told = [
        _by_donor(numbers, donor, prefix)
        for donor, prefix in ((BASE, ""), (SIBLING, "sibling_"))
        if numbers.at(f"restored/{donor}")["value"] is not None
    ]
    return f"{arm}: {'; '.join(told)}." if told else f"{arm}: no lost fact was asked with grafted weights."


def _by_donor(numbers: Results, donor: str, prefix: str) -> str:
    all_of = write_number(numbers.at(f"restored/{donor}"), "%")
    start = f"with the {donor}'s weights {all_of} of the lost facts come back"
    for group, title in GROUPS.items():
        low = [numbers.at(f"{group}/{prefix}{name}")["low"] for name in ("above_placebo", "lead")]
        if all(bound is not None and bound > 0 for bound in low):
            share = write_number(numbers.at(f"{group}/{prefix or 'shapley'}".rstrip("_")), "%")
            placebo = write_number(numbers.at(f"{group}/{prefix}placebo"), "%")
            return f"{start}, and {title} carry most of it ({share}; placebo {placebo})"
    above = [
        title
        for group, title in GROUPS.items()
        if (numbers.at(f"{group}/{prefix}above_placebo")["low"] or 0) > 0
    ]
    if above:
        return f"{start}; {' and '.join(above)} bring back more than their placebo, none of them clearly most"
    return f"{start}; which weights carry the loss cannot be told from it"
