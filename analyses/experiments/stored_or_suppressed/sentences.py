"""Sentences of stored_or_suppressed: what arms lost, what of it is stored, and what that rests on."""

from __future__ import annotations

import pandas as pd

from analyses.common.elicited_knowledge import LITTLE
from interp.reports.pages.results_tables import FEWEST_OF_A_SHARE, write_number
from interp.reports.read.results import Results
from interp.verdicts.controls import FEWEST_CONTROLS, NEVER
from interp.verdicts.diagnosis import STORED, SUPPRESSED

MOSTLY_SILENT = 0.5  # of retained facts


def finding(frame: pd.DataFrame, results: Results) -> str:
    """Say what every arm lost and what of it is stored, and warn where forms or controls tell too little."""
    lost = {
        name: arm
        for name, arm in results.below("arms").items()
        if arm.at("stored_of_lost")["value"] is not None
    }
    parts = [_loss(name, arm, frame[frame["arm"] == name]) for name, arm in lost.items()]
    said = f"{'; '.join(parts)}." if parts else "No arm lost a fact that the base knew."
    counts = {name: int(frame.loc[frame["arm"] == name, f"control_{NEVER}"].sum()) for name in lost}
    if few := [f"{n} for {name}" for name, n in counts.items() if n < FEWEST_CONTROLS]:
        said += (
            " How often a fact that nothing stores is called stored rests on few such facts "
            f"({', '.join(few)}; it takes {FEWEST_CONTROLS})."
        )
    return f"{said}{''.join(_silence(name, arm) for name, arm in lost.items())}{asking_sentence(results)}"


def _silence(name: str, arm: Results) -> str:
    """Warn where an arm hardly states what it kept, either: its silence on lost facts then says little."""
    unseen = arm.at("retained/unseen")
    if unseen["value"] is None or unseen["value"] < MOSTLY_SILENT:
        return ""
    return (
        f" Of the facts that {name} kept, {write_number(unseen, '%')} are stated in no held-out form, "
        "either: that a lost fact is erased says little there."
    )


def _loss(name: str, arm: Results, rows: pd.DataFrame) -> str:
    """Say what an arm lost and what of it is stored: in counts where a share would be of a handful."""
    known = rows[rows["base_knew"] == 1]
    lost = known[~known["right"].astype(bool)]
    if arm.at("stored_of_lost")["low"] is not None and len(lost) >= FEWEST_OF_A_SHARE:
        stored, intact = (write_number(arm.at(f"{kind}_of_lost"), "%") for kind in ("stored", "suppressed"))
        told = (
            f"{name} lost {write_number(arm.at('lost'), '%')} of the known facts, and of these {stored} are"
        )
        if stored == intact:
            return f"{told} still stated in every held-out form"
        return f"{told} still stated in some held-out form, {intact} in every one"
    n_stored, n_intact = lost["verdict"].isin(STORED).sum(), (lost["verdict"] == SUPPRESSED).sum()
    trainings = rows["seed"].nunique()
    told = f"{name} lost {len(lost)} of {len(known):,} known facts"
    told += f" in {trainings} trainings" if trainings > 1 else ""
    if n_intact == len(lost):
        return f"{told}, still stated in every held-out form"
    if not n_stored:
        return f"{told}, not shown to be still stored"
    return f"{told}; {n_stored} shown to be still stored, {n_intact} stated in every held-out form"


def asking_sentence(results: Results) -> str:
    """Say that the base knows its facts in other forms, where it hardly answers in the one that is asked."""
    arms = results.below("arms")
    base = next(iter(arms.values())).at("base_as_asked")
    if base["value"] is None or base["value"] >= LITTLE:
        return ""
    failed = [name for name, arm in arms.items() if arm.at("lost")["value"] > 1 - LITTLE]
    asked = (
        f" As asked, the base itself answers {write_number(base, '%')} of the known facts right: "
        "it knows them in other forms."
    )
    if not failed:
        return asked
    return (
        f"{asked} So little is right of {' and '.join(failed)} that the form of the question may be what "
        "failed, not memory: ask as training asked (--prompt-format, --shots, --chat)."
    )
