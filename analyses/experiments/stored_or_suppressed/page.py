"""What stored_or_suppressed says: one sentence, tables, figures and examples."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analyses.common.claims import claims_on_verdicts
from analyses.common.recovery_page import recovery_sentence, recovery_tables
from analyses.experiments.stored_or_suppressed.figures import figures
from analyses.experiments.stored_or_suppressed.head_transplants import typical_stored
from analyses.experiments.stored_or_suppressed.hidden import hidden_table
from analyses.experiments.stored_or_suppressed.pathway_page import pathway_table
from analyses.experiments.stored_or_suppressed.recognition import recognition_table
from analyses.experiments.stored_or_suppressed.sentences import finding
from analyses.experiments.stored_or_suppressed.stages import Diagnosed
from interp.reports.pages.results_tables import Column, results_table, write_number
from interp.reports.pages.study import Study, StudyTable, format_interval
from interp.reports.read.results import Results
from interp.verdicts.controls import CONTROLS, FEWEST_CONTROLS
from interp.verdicts.diagnosis import RETAINED

DEFINITIONS = (
    (
        "Known to the base",
        "Answered right by the base when it is asked in the ways that suit it: a base made here in every "
        "statement form, another in one at least of three prompts with solved examples, where the answer is "
        "likelier for this subject than for 95% of others. Gekhman et al. (2024) call a fact HighlyKnown if "
        "the answer is right under each of these prompts, MaybeKnown if under some, WeaklyKnown if only some "
        "sampled answer is right, and Unknown else.",
    ),
    ("Held-out form", "A wording that had no part in saying that the base knows the fact."),
    ("Elicited base", "A base that was asked with solved examples, as one that was not made here is."),
    (
        "Evidence",
        "How specific the right answer is to its subject, in nats: its log probability among the relation's "
        "answers, after what each of these gets for other subjects is taken off. 0 is certainty; about "
        "−ln(number of answers) says nothing of the subject. As asked: in the arm's question; "
        "in held-out forms: averaged over these.",
    ),
    (
        "AUROC",
        "How often, of a lost and a never-stored fact, the lost one has the larger value: 1 always, 0.5 as "
        "often as not.",
    ),
    (
        "Kappa",
        "Cohen's kappa: how far two forms agree on who is stated beyond what chance explains, 1 wholly, 0 "
        "not.",
    ),
    (
        "Shapley share",
        "What a group of weights adds, averaged over all orders in which the groups can be grafted; the "
        "shares add up to what all of them bring back.",
    ),
    ("Donor", "The model whose weights are grafted into the arm: the base, or the sibling."),
    (
        "Sibling",
        "Another arm of the same base, whose attention or weights are tried in this one: the popular half, "
        "or else the first other. A single checkpoint has none.",
    ),
)


def study(found: Diagnosed, results: Results) -> Study:
    """Say what became of the facts that arms lost."""
    frame, lesson = found.rows, results.part("lesson")
    lessons = recovery_sentence(lesson, one_training=frame["seed"].nunique() == 1) if lesson.below() else ""
    tried = "" if lessons else " (--lesson-steps 30 tries it on yours)"
    return Study(
        title="Stored or suppressed",
        question="Of the facts that each fine-tuned arm lost, which are still stored?",
        finding=f"{lessons}. {finding(frame, results)}" if lessons else finding(frame, results),
        outcome="measured",
        claims=claims_on_verdicts(results),
        tables=(
            *(recovery_tables(lesson) if lesson.below() else ()),
            _verdict_table(frame, results),
            _control_table(frame, results),
            _evidence_table(results),
            *([hidden_table(results)] if "k_external" in frame else []),
            *([recognition_table(results)] if "recognition" in frame else []),
            pathway_table(results),
            _head_table(found.heads),
        ),
        figures=tuple(figures(frame, found.heads, found.pictures)),
        examples=(_examples(frame),),
        definitions=DEFINITIONS,
        notes=(
            "Suppressed, intact: wrong as asked, and still stated in every held-out form. Eroded: stated in "
            "some. Erased: stated in none, which is no proof: of damaged SmolLM2s a lesson on other facts "
            f"brought 44 to 84% of these back{tried}. Right but generic: the answer says nothing of the "
            "subject. Undetermined: the base's own said nothing of it, or it was asked in no held-out form.",
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
        "Intact: right in every held-out form. Lost facts that the base knew only by luck count as "
        "undetermined.",
    )


def _control_table(frame: pd.DataFrame, results: Results) -> StudyTable:
    """Say how often facts that nothing stores are stated, and retained ones are not."""
    rows = []
    for arm, of in frame.groupby("arm", sort=False):
        part = results.part(("arms", str(arm)))
        rows += [
            (
                str(arm),
                who,
                int(of[f"control_{name}"].sum()),
                *_stated(part, f"controls/{name}/false_positives"),
            )
            for name, who in CONTROLS.items()
        ]
        retained = int(((of["verdict"] == RETAINED) & of["stated_share"].notna()).sum())
        for name, what in (("missed", "not stated in every held-out form"), ("unseen", "stated in none")):
            silent, n = _written(part, f"retained/{name}")
            rows.append((str(arm), f"retained facts, {what}", retained, "", silent, n))
        for name, kind, what in (("lost", "known", "lost facts"), ("never", "never", "facts never stored")):
            columns = [column for column in of if str(column).startswith(f"{kind}_apart_")]
            told = of[columns].fillna(False).astype(bool).any(axis=1)
            facts = int((told & ~of["right"].astype(bool)).sum())
            rows.append((str(arm), f"{what}, by the other forms", facts, *_stated(part, f"apart/{name}")))
    return StudyTable(
        title="How far to trust it: facts that nothing stores, and facts that were kept",
        columns=("Arm", "Of", "Facts", "Stated, %", "Not stated, %", "n"),
        rows=tuple(rows),
        note="Stated: of facts that the base does not know, in some held-out form all the same. Facts: of "
        f"all seeds; of fewer than {FEWEST_CONTROLS} a rate says little. n: facts, or trainings. By the "
        "other forms: each form in its turn, of facts that the base's answers in all others call known or "
        "never stored (of an elicited base: what was elicited); the share of facts and forms in which they "
        "are stated.",
    )


def _stated(part: Results, place: str) -> tuple[str, str, int]:
    """Write a share that is stated, with nothing in the column of what is not."""
    share, n = _written(part, place)
    return share, "", n


def _written(part: Results, place: str) -> tuple[str, int]:
    number = part.at(place)
    return write_number(number, "%?"), number["n"]


def _evidence_table(results: Results) -> StudyTable:
    """Say how well forms agree, and how far lost facts stand out in graded evidence."""
    columns: dict[str, Column] = {
        "Stored in some degree, lost − never stored, points": ("stored_above_never", "points?"),
        "Specificity, lost against never stored, AUROC": ("evidence_auroc", "2?"),
        "Two held-out forms, rank correlation": ("agreement/lost/rank_correlation", "2?"),
        "The same, of who is stated, kappa": ("agreement/lost/kappa", "2?"),
        "The question as asked and all held-out forms, rank correlation": ("agreement/lost/question", "2?"),
    }
    return results_table(
        "The evidence on lost facts",
        ("Arm",),
        {(name,): arm for name, arm in results.below("arms").items()},
        columns,
        note="Specificity: how far the right answer is told apart for its subject, averaged over held-out "
        "forms; 0.5 tells nothing. Agreement is between every two held-out forms, averaged.",
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
            None if np.isnan(row["corrected"]) else f"{row['corrected']:.3f}",
            int(row["placebo_n"]),
        )
        for row in best.to_dict("records")
    ]
    return StudyTable(
        title="Heads tried one at a time, the largest gains first",
        columns=(
            "Arm",
            "Layer.head",
            "Gain, nats",
            "Facts",
            "Placebo, nats",
            "Gain − placebo",
            "p, corrected",
            "Facts with a placebo",
        ),
        rows=tuple(rows),
        note="log p(answer) gained on stored lost facts when this head alone attends as a sibling's (or the "
        "base's); placebo: as for another subject. p: that the gain is not larger, over all heads by "
        f"Benjamini-Hochberg, at most 0.05 of {(best['corrected'] <= 0.05).sum()} of these. First seed."
        if rows
        else "No arm has a fact that it lost and still stores, in which heads could be tried.",
    )


def _examples(frame: pd.DataFrame) -> StudyTable:
    """Show stored facts that each arm lost, those of median evidence: typical ones, not picked."""
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
            *(None if np.isnan(row[kind]) else f"{row[kind]:.2f}".replace("-", "−") for kind in kinds),
            f"{row['attention_other']:.2f} → {row['attention']:.2f}",
        )
        for _, row in some.iterrows()
    ]
    return StudyTable(
        title="Facts that are stored and not said",
        columns=(
            "Arm",
            "Subject",
            "Relation",
            "Answer",
            "Base says",
            "Arm says",
            "Evidence as asked",
            "Evidence in held-out forms",
            "Subject attention",
        ),
        rows=tuple(rows),
        note="Evidence in nats: 0 is certainty; an answer that is the same to every subject is far below. "
        "Attention to the subject: the other model's, then the arm's."
        if rows
        else "No arm has a fact that it lost and still stores.",
    )
