"""What planted truth says: recall, mistakes and precision by kind of damage, and what tells them apart."""

from __future__ import annotations

import pandas as pd

from analyses.common.claims import claims_on_planted_truth
from analyses.common.recovery_numbers import verdict_key
from analyses.common.recovery_page import FORETOLD, recovery_tables
from analyses.experiments.planted_truth.cells import ABSENT, RARE
from analyses.experiments.planted_truth.damage import kinds
from analyses.experiments.planted_truth.numbers import (
    PREVALENCES,
    RULES,
    cell_name,
)
from interp.reports.pages.results_tables import Column, results_table, write_number
from interp.reports.pages.study import NOT_MEASURED, Study, StudyTable
from interp.reports.read.results import Results
from interp.verdicts.diagnosis import VERDICTS

NATURAL = "natural_routing_asked"
IN_SOME_DEGREE = "rule_any"
_PARTS = {"routing": "W_Q W_K", "values": "W_V W_O, MLP", "all": "all weights"}
_NOTES = (
    "A fact was stored if pretraining met it often enough (see the configuration) and the base states it in "
    "every form. Damage to W_Q and W_K leaves what stores it to the bit, so every lost fact is stored; after "
    "other damage construction does not say how much is left, and the classes' shares are all there is.",
    "Never stored: subjects that pretraining never met, and such that it hardly ever met and the base says "
    "nothing right of. Rates are of those that are answered wrong.",
    "Precision depends on how many lost facts are stored, which nobody knows beforehand: it is given for "
    "three prevalences, against never-stored facts.",
)


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say in one sentence and tables what was found."""
    claims = claims_on_planted_truth(results)
    outcomes = {claim.outcome for claim in claims} - {NOT_MEASURED} or {NOT_MEASURED}
    cells = results.below("cells")
    return Study(
        title="Planted truth",
        question="Is a verdict right where the truth is known by construction?",
        finding=_finding(cells),
        outcome=outcomes.pop() if len(outcomes) == 1 else "inconclusive",
        claims=claims,
        tables=(
            *(recovery_tables(cells[NATURAL].part("lesson")) if NATURAL in cells else ()),
            _recall_table(cells),
            _verdict_table(cells),
            _precision_table(cells),
            _area_table(cells, results),
        ),
        notes=_NOTES,
    )


def _finding(cells: dict[str, Results]) -> str:
    said = []
    if NATURAL in cells:
        part = cells[NATURAL]
        found, mistaken = (
            write_number(part.at(f"called/{IN_SOME_DEGREE}/{of}"), "%") for of in ("of_lost", "of_never")
        )
        said.append(
            "Of facts lost in natural fine-tuning of W_Q and W_K alone, all of which are stored, the verdict "
            f"finds {found}, and it holds {mistaken} of never-stored facts to be stored"
        )
    return "; ".join(said) + "." if said else "No natural damage was measured."


def _labelled(cells: dict[str, Results]) -> dict[tuple[str, str, str], Results]:
    """Name the kinds of damage that were measured, in the order of the grid."""
    labels = {}
    for damage in dict.fromkeys((*kinds(full=False), *kinds(full=True))):
        name = cell_name(damage)
        how = f"{damage.how} ({damage.share:g})" if damage.how == "interpolated" else damage.how
        if name in cells:
            forms = "every form" if damage.forms == "all" else "asked form"
            labels[how, _PARTS[damage.part], forms] = cells[name]
    return labels


_HEADS = ("Damage", "Weights", "Forms")


def _recall_table(cells: dict[str, Results]) -> StudyTable:
    found = f"called/{IN_SOME_DEGREE}"
    columns: list[tuple[str, Column]] = [
        ("Lost, %", ("lost", "share")),
        ("Called stored", (f"{found}/of_lost", "share")),
        ("Never stored: called so", (f"{found}/of_never", "share")),
        ("… absent", (f"{found}/{ABSENT}", "share?")),
        ("… rare", (f"{found}/{RARE}", "share?")),
        ("… matched", (f"{found}/of_matched", "share?")),
    ]
    note = (
        "% of the facts that were lost, and of never-stored ones. After damage to W_Q and W_K this is recall."
    )
    return results_table("Called stored in some degree", _HEADS, _labelled(cells), columns, note=note)


def _verdict_table(cells: dict[str, Results]) -> StudyTable:
    keys = {name: verdict_key(name) for name in VERDICTS}
    shown = {
        name: key
        for name, key in keys.items()
        if any(c.at(f"verdicts/{key}")["value"] for c in cells.values())
    }
    return results_table(
        "Verdicts on lost facts",
        _HEADS,
        _labelled(cells),
        {name.capitalize(): (f"verdicts/{key}", "share") for name, key in shown.items()},
        note="% of lost facts. In the identity check the fine-tuned model is the base itself.",
    )


def _precision_table(cells: dict[str, Results]) -> StudyTable:
    stored = {label: part for label, part in _labelled(cells).items() if label[1] == _PARTS["routing"]}
    columns: list[tuple[str, Column]] = [
        (f"{RULES[name]}, {prevalence:.0%} stored", (f"called/{name}/precision_{prevalence:g}", "share?"))
        for name in RULES
        for prevalence in PREVALENCES
    ]
    note = "% of the facts called stored that are, were so many of the lost facts stored and the rest never."
    return results_table("Precision by prevalence", _HEADS, stored, columns, note=note)


def _area_table(cells: dict[str, Results], results: Results) -> StudyTable:
    """Lay out AUROCs, a row a kind of evidence: stored against never stored, and against overwritten."""
    stored = {k: p for k, p in _labelled(cells).items() if k[1] == _PARTS["routing"]}
    parts = {" ".join((k[0], k[2])): p.part("auroc") for k, p in stored.items()}
    parts["against overwritten"] = results.part("stored_against_overwritten")
    names = list(dict.fromkeys(name for part in parts.values() for name in part.below()))
    rows = {
        FORETOLD.get(name, name).capitalize(): Results(
            {(place,): part.at(name) for place, part in parts.items()}
        )
        for name in names
    }
    return results_table(
        "Each kind of evidence alone",
        "Evidence",
        rows,
        {place: (place, "2?") for place in parts},
        note="Area under the ROC curve; 0.5 tells nothing. Damage to W_Q and W_K, stored against never "
        "stored; in the last column facts suppressed by name against overwritten ones.",
    )
