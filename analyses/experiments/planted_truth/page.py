"""What the planted-truth analysis says: one sentence, two tables and a figure, all from its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analyses.common.claims import claims_on_planted_truth
from analyses.experiments.planted_truth.stages import TRUTHS
from interp.reports.figures.style import in_house_style, new_figure
from interp.reports.pages.study import Cell, Study, StudyFigure, StudyTable, format_entry
from interp.verdicts.diagnose import ERASED, NEVER_STORED, RETAINED, SUPPRESSED, USED, VERDICTS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say in one sentence, tables and a figure what was found."""
    verdict = results["verdict"]
    precision, recall = verdict["suppressed"]["precision"], verdict["suppressed"]["recall"]
    rate, claims = verdict["false_positive_rate"], claims_on_planted_truth(results)
    outcomes = {claim.outcome for claim in claims}
    finding = (
        f"Of the facts called suppressed {_percent(precision)} are; of the facts that are suppressed "
        f"{_percent(recall)} are called so; {_percent(rate)} of never-stored facts show storage."
    )
    return Study(
        title="Planted truth",
        question="Is a verdict right where the truth is known by construction?",
        finding=finding,
        outcome=outcomes.pop() if len(outcomes) == 1 else "inconclusive",
        claims=claims,
        tables=(_confusion_table(frame, results), _evidence_table(results)),
        figures=(StudyFigure(name="evidence", figure=_figure(frame), caption=_CAPTION),),
        notes=_NOTES,
    )


_CAPTION = (
    "Strength of the evidence of storage, by the truth: the share of facts with at least so much. The line "
    "is the threshold, fitted on facts that neither model knows."
)
_NOTES = (
    "A fact counts as stored by construction if pretraining met it often enough (see the configuration) and "
    "the base states it in every form; rarer facts are diagnosed but not scored, for construction does not "
    "say what became of them. Nor are kept facts that the planted model answers wrong.",
    "Precision depends on how many facts of each kind there are: two of the three models suppress.",
    f"The verdict rests on {', '.join(USED)}; the other kinds are reported to show what they add.",
)


def _percent(number: dict[str, Any]) -> str:
    return format_entry(number, unit="%")


def _confusion_table(frame: pd.DataFrame, results: dict[str, Any]) -> StudyTable:
    known = frame[frame["truth"] != ""]
    counts = known.groupby("truth").size()
    rows: list[tuple[Cell, ...]] = []
    for truth in TRUTHS:
        shares = results["confusion"].get(truth.replace(" ", "_"))
        if shares:
            cells = [_percent(shares[verdict.replace(" ", "_")]) for verdict in VERDICTS]
            rows.append((truth, int(counts[truth]), *cells))
    return StudyTable(
        title="Verdicts by truth",
        columns=("Truth", "Facts", *(v.capitalize() for v in VERDICTS)),
        rows=tuple(rows),
        note="Share of each truth's facts, %, with intervals over seeds (over subjects for one seed).",
    )


def _evidence_table(results: dict[str, Any]) -> StudyTable:
    columns = {
        "auroc": "AUROC",
        "auroc_suppressed_in_every_form": "Suppressed in every form",
        "auroc_suppressed_as_asked": "Suppressed as asked",
        "auroc_against_erased": "Against erased only",
    }
    rows: list[tuple[Cell, ...]] = [
        (
            kind.replace("_", " "),
            "yes" if kind in USED else "no",
            *(format_entry(part[key], digits=2) for key in columns),
        )
        for kind, part in results["evidence"].items()
    ]
    rows.append(
        ("all that the verdict uses", "", format_entry(results["verdict"]["auroc"], digits=2), "", "", "")
    )
    return StudyTable(
        title="Each kind of evidence alone",
        columns=("Evidence", "Used", *columns.values()),
        rows=tuple(rows),
        note="Area under the ROC curve: suppressed against erased and never stored; 0.5 tells nothing.",
    )


@in_house_style
def _figure(frame: pd.DataFrame) -> Figure:

    figure = new_figure(width=6.4, height=3.4)
    axes = figure.subplots()
    styles = {SUPPRESSED: "-", RETAINED: "--", ERASED: "-.", NEVER_STORED: ":"}
    for truth, style in styles.items():
        values = np.sort(frame.loc[frame["truth"] == truth, "strength"].dropna().to_numpy())
        if len(values):
            share = 1 - np.arange(len(values)) / len(values)
            axes.step(values, share, where="post", linestyle=style, label=f"{truth} (n = {len(values):,})")
    axes.axvline(float(frame["threshold"].mean()), color="0.4", linewidth=1)
    axes.set_xlabel("Strength of evidence (-ln of the share of controls with as much)")
    axes.set_ylabel("Share of facts with at least so much")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False)
    return figure
