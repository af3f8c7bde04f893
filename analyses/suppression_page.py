"""What stored_or_suppressed says: one sentence, tables, figures and examples, all from its run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from finetune.files import read_json
from interp.study import Study, StudyFigure, StudyTable, interval, of
from interp.verdict import ERASED, RETAINED, SUPPRESSED, UNDETERMINED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {SUPPRESSED: "#E69F00", ERASED: "#56606B", UNDETERMINED: "#D5D9DD", RETAINED: "#0072B2"}
EXAMPLES = 8


def load_study(path: Path) -> Study:
    """Make the page of a run directory from its tables."""
    frame = pd.read_parquet(path / "facts.parquet")
    heads = pd.read_parquet(path / "heads.parquet")
    results = read_json(path / "results.json")
    return Study(
        title="Stored or suppressed",
        question="Of the facts that each fine-tuned arm lost, which are still stored?",
        finding=_finding(results),
        outcome="measured",
        tables=(_verdict_table(frame, results), _recovery_table(results), _head_table(heads)),
        figures=tuple(_figures(frame, heads)),
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
    return of(number, unit="%")


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
            interval(row["gain"], row["low"], row["high"], digits=2),
            interval(row["placebo"], row["placebo_low"], row["placebo_high"], digits=2),
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


def _figures(frame: pd.DataFrame, heads: pd.DataFrame) -> list[StudyFigure]:
    made = [
        StudyFigure(
            name="outcomes",
            figure=_outcomes(frame),
            caption="What became of the facts that the base knew, by arm.",
        ),
        StudyFigure(
            name="attention",
            figure=_attention(frame),
            caption="Subject attention in the arm against the other model's, per fact that the base knew "
            "(mean over layers and heads; first seed).",
        ),
    ]
    if frame["popularity"].notna().all():
        caption = "Verdicts on known facts by popularity quartile (1 = most popular)."
        made.insert(1, StudyFigure(name="popularity", figure=_popularity(frame), caption=caption))
    if len(heads):
        caption = "log p(answer) gained by one head's transplant (nats), and by its placebo."
        made.append(StudyFigure(name="heads", figure=_grids(heads), caption=caption))
    return made


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["base_knew"] == 1]


def _stack(axes: Any, table: pd.DataFrame, labels: list[str]) -> None:
    """Draw shares of verdicts as stacked horizontal bars, one a row of ``table``."""
    left = np.zeros(len(table))
    for verdict, colour in COLOURS.items():
        share = table.get(verdict, pd.Series(0.0, index=table.index)).to_numpy()
        axes.barh(labels, share, left=left, color=colour, edgecolor="white", label=verdict)
        for y, (start, width) in enumerate(zip(left, share, strict=True)):
            if width > 0.06:
                ink = "white" if verdict in (ERASED, RETAINED) else "black"
                axes.text(start + width / 2, y, f"{100 * width:.0f}", ha="center", va="center", color=ink)
        left += share
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines[["bottom", "left", "top", "right"]].set_visible(False)


def _outcomes(frame: pd.DataFrame) -> Figure:
    from interp.style import new_figure

    known = _known(frame)
    table = pd.crosstab(known["arm"], known["verdict"], normalize="index").reindex(known["arm"].unique())
    counts = known.groupby("arm").size()
    figure = new_figure(width=6.4, height=0.9 + 0.45 * len(table))
    axes = figure.subplots()
    _stack(axes, table, [f"{arm} (n = {counts[arm]:,})" for arm in table.index])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _popularity(frame: pd.DataFrame) -> Figure:
    from interp.style import new_figure

    known = _known(frame)
    rank = frame.groupby(["seed", "arm"])["popularity"].rank(method="first", ascending=False, pct=True)
    quartile = np.ceil(rank[known.index] * 4).astype(int)
    arms = list(known["arm"].unique())
    figure = new_figure(width=6.4, height=0.7 + 1.2 * len(arms))
    grid = figure.subplots(len(arms), 1, squeeze=False)[:, 0]
    for axes, arm in zip(grid, arms, strict=True):
        here = known["arm"] == arm
        table = pd.crosstab(quartile[here], known.loc[here, "verdict"], normalize="index")
        counts = quartile[here].value_counts()
        _stack(axes, table, [f"Q{q} (n = {counts[q]:,})" for q in table.index])
        axes.set_title(arm, loc="left", fontsize="medium")
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _attention(frame: pd.DataFrame) -> Figure:
    from interp.style import new_figure

    known = _known(frame[frame["seed"] == frame["seed"].iloc[0]])
    arms = list(known["arm"].unique())
    figure = new_figure(width=1.2 + 2.1 * len(arms), height=2.6)
    grid = figure.subplots(1, len(arms), sharex=True, sharey=True, squeeze=False)[0]
    for axes, arm in zip(grid, arms, strict=True):
        here = known[known["arm"] == arm]
        for verdict in (RETAINED, ERASED, SUPPRESSED):
            some = here[here["verdict"] == verdict]
            label = verdict if arm == arms[0] else None
            axes.scatter(
                some["attention_other"],
                some["attention"],
                s=5,
                alpha=0.5,
                color=COLOURS[verdict],
                label=label,
            )
        axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8)
        axes.set_title(f"{arm} against {here['other'].iloc[0]}", fontsize="medium")
    figure.supxlabel("Subject attention in the other model", fontsize="medium")
    figure.supylabel("in the arm", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, markerscale=3)
    return figure


def _grids(heads: pd.DataFrame) -> Figure:
    from interp.style import new_figure

    arms = list(heads["arm"].unique())
    rows, columns = int(heads["layer"].max()) + 1, int(heads["head"].max()) + 1
    most = float(heads[["gain", "placebo"]].abs().max().max()) or 1.0
    figure = new_figure(width=1.4 + 0.5 * columns * 2, height=0.6 + (0.5 + 0.42 * rows) * len(arms))
    grid = figure.subplots(len(arms), 2, squeeze=False)
    for line, arm in zip(grid, arms, strict=True):
        here = heads[heads["arm"] == arm]
        for axes, column, title in zip(line, ("gain", "placebo"), (arm, "placebo"), strict=True):
            table = here.pivot(index="layer", columns="head", values=column).to_numpy()
            image = axes.imshow(table, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
            for (layer, head), value in np.ndenumerate(table):
                ink = "white" if abs(value) > 0.6 * most else "black"
                axes.text(head, layer, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
            axes.set_title(title, fontsize="medium")
            axes.set_xticks(range(columns))
            axes.set_yticks(range(rows))
        line[0].set_ylabel("layer")
    for axes in grid[-1]:
        axes.set_xlabel("head")
    figure.colorbar(image, ax=grid, label="nats", shrink=0.8)
    return figure


def _examples(frame: pd.DataFrame) -> StudyTable:
    """Show facts that were suppressed, those of median strength first: typical ones, not picked."""
    some = frame[frame["verdict"] == SUPPRESSED]
    distance = (some["strength"].rank(pct=True) - 0.5).abs()
    some = some.loc[distance.sort_values(kind="stable").index[:EXAMPLES]]
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
