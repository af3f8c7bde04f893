"""The figures of stored_or_suppressed: verdicts as bars, attention as points, heads as grids, and strips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from interp.reports.figures.head_effects import recovery_grid
from interp.reports.figures.style import in_house_style, new_figure
from interp.reports.figures.token_rows import Strip, attention_strips
from interp.reports.figures.verdicts import COLOURS, verdict_bars, verdict_flows, verdicts_by_popularity
from interp.reports.pages.study import StudyFigure
from interp.verdicts.diagnosis import ERASED, ERODED, RETAINED, SUPPRESSED


def figures(
    frame: pd.DataFrame, heads: pd.DataFrame, pictures: dict[str, list[dict[str, Any]]]
) -> list[StudyFigure]:
    """Draw what became of the facts, by arm and by popularity, attention, heads and typical facts."""
    made = [
        StudyFigure(
            name="flows",
            figure=verdict_flows(frame),
            caption="From what the base knew to what became of it, by arm: bands are shares of all facts. "
            "Intervals are 95%, over seeds, or over subjects where there is one seed.",
        ),
        StudyFigure(
            name="outcomes",
            figure=verdict_bars(frame),
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
        caption = "Verdicts on known facts by popularity quarter, the most popular first."
        made.insert(2, StudyFigure(name="popularity", figure=verdicts_by_popularity(frame), caption=caption))
    if len(heads):
        caption = (
            "log p(answer) gained by one head's transplant (nats) on stored lost facts, and by its placebo, "
            "as for another subject. A dot marks an interval that excludes zero. First seed."
        )
        made.append(StudyFigure(name="heads", figure=recovery_grid(heads), caption=caption))
    if strips := _strips(frame, pictures):
        caption = (
            "Typical stored lost facts: what the last token looks at (%, mean over layers and heads) in the "
            "other model and in the arm. Subjects are coloured. The same facts are under Examples."
        )
        made.append(StudyFigure(name="examples", figure=attention_strips(strips), caption=caption))
    return made


def _strips(frame: pd.DataFrame, pictures: dict[str, list[dict[str, Any]]]) -> list[Strip]:
    """Lay out each pictured fact: who, what, and what the arm says instead."""
    first = frame[frame["seed"] == frame["seed"].iloc[0]]
    facts = {(row["arm"], row["fact_id"]): row for row in first.to_dict("records")}
    made = []
    for arm, some in pictures.items():
        for seen in some:
            fact = facts[arm, seen["fact_id"]]
            made.append(
                Strip(
                    title=f"{fact['subject']}, {fact['relation']}: {fact['answer']}; {arm}: {fact['said']}",
                    tokens=seen["tokens"],
                    subject=np.array(seen["subject"]),
                    rows={name: np.array(row) for name, row in seen["rows"].items()},
                )
            )
    return made


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["base_knew"] == 1]


@in_house_style
def _attention(frame: pd.DataFrame) -> Figure:
    known = _known(frame[frame["seed"] == frame["seed"].iloc[0]])
    arms = list(known["arm"].unique())
    figure = new_figure(width=1.2 + 2.1 * len(arms), height=2.6)
    grid = figure.subplots(1, len(arms), sharex=True, sharey=True, squeeze=False)[0]
    for axes, arm in zip(grid, arms, strict=True):
        here = known[known["arm"] == arm]
        for verdict in (RETAINED, ERASED, ERODED, SUPPRESSED):
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
        axes.set_title(f"{arm} against {here['other'].iloc[0]}\nn = {len(here):,}", fontsize="medium")
        axes.set_xlabel(f"in {here['other'].iloc[0]}")
    grid[0].set_ylabel("in the arm")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, markerscale=3)
    return figure
