"""What stored_or_suppressed says: one sentence, tables, figures and examples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analyses.common.claims import claims_on_verdicts
from analyses.common.recovery_page import recovery_sentence, recovery_tables
from analyses.experiments.stored_or_suppressed.figures import figures
from analyses.experiments.stored_or_suppressed.head_transplants import typical_stored
from analyses.experiments.stored_or_suppressed.hidden import hidden_table
from analyses.experiments.stored_or_suppressed.numbers import control_rows
from analyses.experiments.stored_or_suppressed.pathway_page import pathway_table
from analyses.experiments.stored_or_suppressed.sentences import finding, has_index, index_notes
from analyses.experiments.stored_or_suppressed.stages import Diagnosed
from interp.reports.pages.results_tables import Column, results_table, write_number
from interp.reports.pages.study import Study, StudyTable, format_interval
from interp.reports.read.results import Results
from interp.verdicts.controls import CONTROLS, FEWEST_CONTROLS

ANCHORED = "0 is the median of never-stored facts, 1 that of specifically retained ones. "


def study(found: Diagnosed, results: Results) -> Study:
    """Say what became of the facts that arms lost."""
    frame, lesson = found.rows, results.part("lesson")
    lessons = recovery_sentence(lesson, one_training=frame["seed"].nunique() == 1) if lesson.below() else ""
    return Study(
        title="Stored or suppressed",
        question="Of the facts that each fine-tuned arm lost, which are still stored?",
        finding=f"{lessons}. {finding(frame, results)}" if lessons else finding(frame, results),
        outcome="measured",
        claims=claims_on_verdicts(results, found.alpha),
        tables=(
            *(recovery_tables(lesson) if lesson.below() else ()),
            _verdict_table(frame, results),
            _index_table(frame, results),
            _control_table(frame, results),
            *([hidden_table(results)] if "k_external" in frame else []),
            pathway_table(results),
            _head_table(found.heads),
        ),
        figures=tuple(figures(frame, found.heads, found.pictures)),
        examples=(_examples(frame),),
        notes=(
            *index_notes(frame),
            "Suppressed, intact: wrong as asked, and still stated in every held-out form. Eroded: stated in "
            "some, or told from never-stored facts. Erased: not told from them, which does not prove that "
            "nothing is left. Right but generic: the answer says nothing about the subject. Undetermined: "
            "the evidence is in doubt, or the base's own answer was only its relation's commonest.",
        ),
    )


def _verdict_table(frame: pd.DataFrame, results: Results) -> StudyTable:
    knew = frame[frame["base_knew"] == 1]
    known, lost = (some.groupby("arm").size() for some in (knew, knew[~knew["right"].astype(bool)]))
    return results_table(
        "What became of the facts that the base knew",
        ("Arm", "Known facts", "Lost facts"),
        {
            (name, int(known.get(name, 0)), int(lost.get(name, 0))): arm
            for name, arm in results.below("arms").items()
        },
        {
            "Base right as asked, %": ("base_as_asked", "%"),
            "Lost, %": ("lost", "%"),
            "Right but generic, %": ("generic", "%"),
            "Suppressed, intact, % of lost": ("suppressed_of_lost", "%"),
            "Eroded": ("eroded_of_lost", "%"),
            "Erased": ("erased_of_lost", "%"),
            "Undetermined": ("undetermined_of_lost", "%"),
        },
        note="95% intervals over subjects; over seeds where there are several; none of too few facts. "
        "Intact: right and tied to the subject in every held-out form. Facts known by luck are among "
        "the lost, and undetermined.",
    )


def _index_table(frame: pd.DataFrame, results: Results) -> StudyTable:
    """Say what anchors the index, where it lies by class, and how its cuts held on held-out anchors."""
    first, has = frame.groupby("arm").first(), any(has_index(frame).values())
    of_index: dict[str, Column] = {
        "Lost": ("index/lost", "2"),
        "Suppressed, intact": ("index/suppressed", "2?"),
        "Eroded": ("index/eroded", "2?"),
        "Erased": ("index/erased", "2?"),
    }
    missed: dict[str, Column] = {"Retained, called less than intact, %": ("retained_held_out/missed", "%?")}
    unseen: dict[str, Column] = {
        "Retained, not told from never stored, %": ("retained_held_out/unseen", "%?")
    }
    return results_table(
        "The storage index between its anchors" if has else "Held-out forms, without an index",
        ("Arm", "Never stored are", "Retained are"),
        {
            (name, *(str(first.at[name, column]) for column in ("controls", "retained_are"))): arm
            for name, arm in results.below("arms").items()
        },
        {
            **(of_index if has else {}),
            "Two held-out forms, rank correlation": ("agreement/lost/rank_correlation", "2?"),
            "The same, of who is stated, kappa": ("agreement/lost/kappa", "2?"),
            "The question as asked and all held-out forms, rank correlation": (
                "agreement/lost/question",
                "2?",
            ),
            **missed,
            **(unseen if has else {}),
        },
        note=f"{ANCHORED if has else ''}Agreement is of lost facts, between two held-out forms where there "
        "are as many. Retained: of held-out subjects"
        f"{'; the share of never-stored facts called stored is in the next table.' if has else '.'}",
    )


def _control_table(frame: pd.DataFrame, results: Results) -> StudyTable:
    """Say what each set of controls shows to be stored of lost facts, and how many controls those are."""
    rows = []
    for arm, of in frame.groupby("arm", sort=False):
        for name, who in CONTROLS.items():
            part = results.part(("arms", str(arm), "controls", name))
            rows.append(
                (
                    str(arm),
                    who + (" *" if (of["controls"] == who).any() else ""),
                    len(control_rows(of, name)[0]),
                    write_number(part.at("false_positives"), "%?"),
                    write_number(part.at("shown_of_lost"), "%"),
                    part.at("shown_of_lost")["n"],
                )
            )
    return StudyTable(
        title="Lost facts shown to be stored, by who the controls are",
        columns=("Arm", "Controls", "Facts", "False positives reached", "Shown of lost", "n"),
        rows=tuple(rows),
        note=f"* the verdict rests on these; it takes at least {FEWEST_CONTROLS}. Matched: in answer "
        "frequency and popularity. Facts: of all seeds. Those that the base does not know in *every* form, "
        "the controls of earlier versions, are partly stored: they are here to say how much hangs on it.",
    )


def _head_table(heads: pd.DataFrame) -> StudyTable:
    best = heads.groupby("arm", sort=False).head(3) if len(heads) else heads
    rows = [
        (
            str(row["arm"]),
            f"{row['layer']}.{row['head']}",
            format_interval(row["gain"], row["low"], row["high"], digits=2),
            int(row["n"]),
            format_interval(row["placebo"], row["placebo_low"], row["placebo_high"], digits=2),
            format_interval(row["difference"], row["difference_low"], row["difference_high"], digits=2),
            int(row["placebo_n"]),
        )
        for row in best.to_dict("records")
    ]
    return StudyTable(
        title="The heads that carry the loss",
        columns=(
            "Arm",
            "Layer.head",
            "Gain, nats",
            "Facts",
            "Placebo, nats",
            "Gain − placebo",
            "Facts with a placebo",
        ),
        rows=tuple(rows),
        note="log p(answer) gained on stored lost facts when this head alone attends as the sibling's (the "
        "base's without one); placebo: as for another subject. First seed.",
    )


def _examples(frame: pd.DataFrame) -> StudyTable:
    """Show stored facts that each arm lost, those of median index: typical ones, not picked."""
    first = frame[frame["seed"] == frame["seed"].iloc[0]]
    some = pd.concat([typical_stored(rows) for _, rows in first.groupby("arm", sort=False)])
    kinds = ["evidence_asked", "evidence_forms"]
    rows = [
        (
            row["arm"],
            row["subject"],
            row["relation"],
            row["answer"],
            row["base_said"],
            row["said"],
            *(None if np.isnan(row[kind]) else round(float(row[kind]), 2) for kind in kinds),
            f"{row['attention_other']:.2f} → {row['attention']:.2f}",
        )
        for _, row in some.iterrows()
    ]
    heads = [kind.removeprefix("evidence_") for kind in kinds]
    return StudyTable(
        title="Facts that are stored and not said",
        columns=(
            "Arm",
            "Subject",
            "Relation",
            "Answer",
            "Base says",
            "Arm says",
            *heads,
            "Subject attention",
        ),
        rows=tuple(rows),
        note="Evidence in nats: 0 is certainty; an answer that is the same to every subject is far below. "
        "Attention to the subject: the other model's, then the arm's.",
    )
