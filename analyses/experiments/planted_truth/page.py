"""What the planted-truth analysis says: one sentence, two tables and a figure, all from its numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses.common.claims import claims_on_planted_truth
from analyses.experiments.planted_truth.stages import TRUTHS
from interp.reports.figures.style import in_house_style, new_figure
from interp.reports.pages.results_tables import results_table, write_number
from interp.reports.pages.study import Study, StudyFigure, StudyTable
from interp.reports.read.results import Results
from interp.verdicts.diagnose import USED
from interp.verdicts.diagnosis import ERASED, NEVER_STORED, RETAINED, SUPPRESSED, VERDICTS


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say in one sentence, tables and a figure what was found."""
    places = ("suppressed/precision", "suppressed/recall", "false_positive_rate")
    precision, recall, rate = (write_number(results.at(f"verdict/{place}"), "%") for place in places)
    claims = claims_on_planted_truth(results)
    outcomes = {claim.outcome for claim in claims}
    return Study(
        title="Planted truth",
        question="Is a verdict right where the truth is known by construction?",
        finding=f"Of the facts called suppressed {precision} are; of the facts that are suppressed "
        f"{recall} are called so; {rate} of never-stored facts show storage.",
        outcome=outcomes.pop() if len(outcomes) == 1 else "inconclusive",
        claims=claims,
        tables=(_confusion_table(frame, results), _evidence_table(results)),
        figures=(StudyFigure(name="evidence", figure=_figure(frame), caption=_CAPTION),),
        notes=_NOTES,
    )


_CAPTION = (
    "The storage index by the truth: the share of facts with at least so much. 0 is the median of "
    "never-stored facts, 1 that of retained ones. The line is the threshold."
)
_NOTES = (
    "A fact counts as stored by construction if pretraining met it often enough (see the configuration) and "
    "the base states it in every form; rarer facts are diagnosed but not scored, for construction does not "
    "say what became of them. Nor are kept facts that the planted model answers wrong.",
    "Precision depends on how many facts of each kind there are: two of the three models suppress.",
    f"The verdict rests on {', '.join(USED)}; the other kinds are reported to show what they add.",
)


def _confusion_table(frame: pd.DataFrame, results: Results) -> StudyTable:
    counts, held = frame.groupby("truth").size(), results.below("confusion")
    return results_table(
        "Verdicts by truth",
        ("Truth", "Facts"),
        {
            (truth, int(counts[truth])): held[key]
            for truth in TRUTHS
            if (key := truth.replace(" ", "_")) in held
        },
        {verdict.capitalize(): (verdict.replace(" ", "_"), "%") for verdict in VERDICTS},
        note="Share of each truth's facts, %, with intervals over seeds (over subjects for one seed).",
    )


def _evidence_table(results: Results) -> StudyTable:
    rows = {
        (kind.replace("_", " "), "yes" if kind in USED else "no"): part
        for kind, part in results.below("evidence").items()
    }
    return results_table(
        "Each kind of evidence alone",
        ("Evidence", "Used"),
        rows | {("all that the verdict uses", ""): results.part("verdict")},
        {
            "AUROC": ("auroc", "2"),
            "Suppressed in every form": ("auroc_suppressed_in_every_form", "2?"),
            "Suppressed as asked": ("auroc_suppressed_as_asked", "2?"),
            "Against erased only": ("auroc_against_erased", "2?"),
        },
        note="Area under the ROC curve: suppressed against erased and never stored; 0.5 tells nothing.",
    )


@in_house_style
def _figure(frame: pd.DataFrame) -> Figure:
    figure = new_figure(width=6.4, height=3.4)
    axes = figure.subplots()
    styles = {SUPPRESSED: "-", RETAINED: "--", ERASED: "-.", NEVER_STORED: ":"}
    for truth, style in styles.items():
        values = np.sort(frame.loc[frame["truth"] == truth, "index"].dropna().to_numpy())
        if len(values):
            share = 1 - np.arange(len(values)) / len(values)
            axes.step(values, share, where="post", linestyle=style, label=f"{truth} (n = {len(values):,})")
    axes.axvline(float(frame["threshold"].mean()), color="0.4", linewidth=1)
    axes.set_xlabel("Storage index (0: never stored, 1: retained)")
    axes.set_ylabel("Share of facts with at least so much")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False)
    return figure
