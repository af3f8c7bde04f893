"""The figures of stored_or_suppressed: verdicts as bars, attention as points, heads as grids, and strips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from interp.reports.figures.head_effects import recovery_grid
from interp.reports.figures.labels import drawable_label, drawable_labels
from interp.reports.figures.style import MUTED, PAGE, in_house_style, leftmost, panels_of, shared_legend
from interp.reports.figures.token_rows import Strip, attention_strips
from interp.reports.figures.verdicts import COLOURS, verdict_bars, verdict_flows, verdicts_by_popularity
from interp.reports.pages.study import StudyFigure
from interp.verdicts.diagnosis import ERASED, ERODED, GENERIC, RETAINED, SUPPRESSED, UNDETERMINED

MARKED = {  # verdicts on facts that the base knew: a marker each, for whoever cannot tell the colours
    RETAINED: "o",
    GENERIC: "v",
    SUPPRESSED: "D",
    ERODED: "^",
    ERASED: "x",
    UNDETERMINED: "+",
}


def figures(
    frame: pd.DataFrame, heads: pd.DataFrame, pictures: dict[str, list[dict[str, Any]]]
) -> list[StudyFigure]:
    """Draw what became of the facts, by arm and by popularity, attention, heads and typical facts."""
    known = frame[frame["base_knew"] == 1]
    made = [
        StudyFigure(
            name="flows",
            figure=verdict_flows(frame),
            caption="From what the base knew to what became of it, by arm: bands are shares of all facts. "
            "Intervals are 95%, over seeds, or over subjects where there is one seed.",
        )
    ]
    if len(known):
        made += _of_known(frame, known)
    else:
        missing = "What became of the facts that the base knew is left out: it knew none of them."
        made.append(StudyFigure(name="outcomes", figure=None, caption="", missing=missing))
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
    made, names = [], drawable_labels(pictures)
    for arm, some in pictures.items():
        for seen in some:
            fact = facts[arm, seen["fact_id"]]
            told = {
                name: drawable_label(str(fact[name]), 40)
                for name in ("subject", "relation", "answer", "said")
            }
            made.append(
                Strip(
                    title="{subject}, {relation}: {answer}; ".format(**told)
                    + f"{names[arm]}: {told['said']}",
                    tokens=seen["tokens"],
                    subject=np.array(seen["subject"]),
                    rows={name: np.array(row) for name, row in seen["rows"].items()},
                )
            )
    return made


def _of_known(frame: pd.DataFrame, known: pd.DataFrame) -> list[StudyFigure]:
    """Draw what became of the facts that the base knew, by arm and by popularity, and attention in them."""
    made = [
        StudyFigure(
            name="outcomes",
            figure=verdict_bars(frame),
            caption="What became of the facts that the base knew, by arm.",
        )
    ]
    if frame["popularity"].notna().all():
        caption = "Verdicts on known facts by popularity quarter, the most popular first."
        made.append(StudyFigure(name="popularity", figure=verdicts_by_popularity(frame), caption=caption))
    first = known[known["seed"] == frame["seed"].iloc[0]]
    if len(first):
        caption = (
            "Subject-attention mass in the arm against the other model's, per fact that the base knew (mean "
            "over layers and heads; first seed). Below the line the arm attends less to the subject."
        )
        made.append(StudyFigure(name="attention", figure=_attention(first), caption=caption))
    return made


@in_house_style
def _attention(known: pd.DataFrame) -> Figure:
    """Draw each known fact's subject attention in the arm against the other model's, a panel an arm."""
    arms = list(known["arm"].unique())
    labels = drawable_labels([*arms, *known["other"].unique()], 16)
    verdicts = [verdict for verdict in MARKED if (known["verdict"] == verdict).any()]
    figure, grid = panels_of(len(arms), width=PAGE / 3, height=2.35, extra=0.4, sharex=True, sharey=True)
    for axes, arm in zip(grid, arms, strict=True):
        here = known[known["arm"] == arm]
        for verdict in verdicts:
            some = here[here["verdict"] == verdict]
            colour = MUTED if verdict == UNDETERMINED else COLOURS[verdict]  # thin lines in it are too pale
            look: dict[str, Any] = {"color": colour, "marker": MARKED[verdict], "label": verdict}
            axes.scatter(some["attention_other"], some["attention"], s=14, alpha=0.7, linewidths=0.8, **look)
        least = here[["attention_other", "attention"]].min(axis=None)
        axes.axline((least, least), slope=1, color="0.6", linewidth=0.8)  # from 0 it would stretch the axes
        axes.set_title(f"{labels[arm]}, n = {len(here):,}", loc="left")
        axes.set_xlabel(f"mass in {labels[here['other'].iloc[0]]}")
        axes.tick_params(labelbottom=True)  # a panel may stand above an empty place
        if leftmost(axes):
            axes.set_ylabel("subject-attention\nmass in the arm")
    shared_legend(figure, grid, verdicts, columns=2 if len(arms) == 1 else 4)
    return figure
