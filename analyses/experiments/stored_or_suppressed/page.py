"""What stored_or_suppressed says: one sentence, tables, figures and examples, all from its run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.claims import claims_on_verdicts
from analyses.experiments.stored_or_suppressed.figures import figures
from analyses.experiments.stored_or_suppressed.head_transplants import typical_suppressed
from finetune.common.files import read_json
from interp.reports.pages.study import Study, StudyTable, format_entry, format_interval


def load_study(path: Path) -> Study:
    """Make the page of a run directory from its tables."""
    frame = pd.read_parquet(path / "facts.parquet")
    heads = pd.read_parquet(path / "heads.parquet")
    results = read_json(path / "results.json")
    alpha = read_json(path / "manifest.json")["config"]["alpha"]
    return Study(
        title="Stored or suppressed",
        question="Of the facts that each fine-tuned arm lost, which are still stored?",
        finding=_finding(results),
        outcome="measured",
        claims=claims_on_verdicts(results, alpha),
        tables=(_verdict_table(frame, results), _recovery_table(results), _head_table(heads)),
        figures=tuple(figures(frame, heads, read_json(path / "pictures.json"))),
        examples=(_examples(frame),),
        notes=_notes(frame),
    )


def _finding(results: dict[str, Any]) -> str:
    arms = {k: arm for k, arm in results["arms"].items() if arm["suppressed_of_lost"]["value"] is not None}
    if not arms:
        return "No arm lost a fact that the base knew."
    parts = [
        f"{name} lost {_percent(arm['lost'])} of the known facts, and {_percent(arm['suppressed_of_lost'])} "
        "of these are shown to be still stored"
        for name, arm in arms.items()
    ]
    return "; ".join(parts) + "."


def _percent(number: dict[str, Any]) -> str:
    return format_entry(number, unit="%")


def _verdict_table(frame: pd.DataFrame, results: dict[str, Any]) -> StudyTable:
    known = frame[frame["base_knew"] == 1].groupby("arm").size()
    keys = ("lost", "suppressed_of_lost", "erased_of_lost", "undetermined_of_lost")
    rows = [
        (name, int(known.get(name, 0)), *(_percent(arm[key]) for key in keys))
        for name, arm in results["arms"].items()
    ]
    return StudyTable(
        title="What became of the facts that the base knew",
        columns=("Arm", "Known facts", "Lost, %", "Suppressed, % of lost", "Erased", "Undetermined"),
        rows=tuple(rows),
        note="95% intervals over subjects; over seeds where there are several.",
    )


def _recovery_table(results: dict[str, Any]) -> StudyTable:
    names = {
        "patterns": "Base's last row",
        "placebo": "… of another subject",
        "sibling": "Sibling's last row",
        "sibling_placebo": "… of another subject",
        "all_sibling": "All of the sibling's rows",
        "boost_8": "Subject attention × 8",
        "boost_placebo_8": "Relation attention × 8",
    }
    rows = [
        (arm, *(_percent(tree["recovery"][key]) if key in tree["recovery"] else None for key in names))
        for arm, tree in results["arms"].items()
    ]
    return StudyTable(
        title="Lost facts answered right under other attention, values untouched",
        columns=("Arm", *names.values()),
        rows=tuple(rows),
        note="% of lost facts. Each intervention stands beside its placebo.",
    )


def _head_table(heads: pd.DataFrame) -> StudyTable:
    best = heads.groupby("arm", sort=False).head(3) if len(heads) else heads
    rows = [
        (
            str(row["arm"]),
            f"{row['layer']}.{row['head']}",
            format_interval(row["gain"], row["low"], row["high"], digits=2),
            format_interval(row["placebo"], row["placebo_low"], row["placebo_high"], digits=2),
            int(row["n"]),
        )
        for row in best.to_dict("records")
    ]
    return StudyTable(
        title="The heads that carry the suppression",
        columns=("Arm", "Layer.head", "Gain, nats", "Placebo, nats", "Facts"),
        rows=tuple(rows),
        note="log p(answer) gained on suppressed facts when this head alone attends as the sibling's (the "
        "base's without one); placebo: as for another subject. First seed.",
    )


def _examples(frame: pd.DataFrame) -> StudyTable:
    """Show facts that each arm suppressed, those of median strength: typical ones, not picked."""
    first = frame[frame["seed"] == frame["seed"].iloc[0]]
    some = pd.concat([typical_suppressed(rows) for _, rows in first.groupby("arm", sort=False)])
    kinds = [
        c for c in ("evidence_asked", "evidence_forms", "evidence_boost", "evidence_sibling") if c in some
    ]
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


def _notes(frame: pd.DataFrame) -> tuple[str, ...]:
    controls = " / ".join(sorted(set(frame["controls"])))
    return (
        f"Thresholds were fitted on one half of the controls ({controls}) and hold for this table only.",
        "Suppressed: storage is shown. Erased: it is not shown, which is not a proof that nothing is left. "
        "Undetermined: the evidence is in doubt, or the base's own answer was only its relation's commonest.",
    )
