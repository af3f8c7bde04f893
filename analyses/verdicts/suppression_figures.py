"""The figures of stored_or_suppressed: verdicts as bars, attention as points, heads as grids, and strips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.strips import Strip, attention_strips
from interp.study import StudyFigure
from interp.style import in_house_style, new_figure
from interp.verdict import ERASED, RETAINED, SUPPRESSED, UNDETERMINED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {SUPPRESSED: "#E69F00", ERASED: "#56606B", UNDETERMINED: "#D5D9DD", RETAINED: "#0072B2"}


def figures(
    frame: pd.DataFrame, heads: pd.DataFrame, pictures: dict[str, list[dict[str, Any]]]
) -> list[StudyFigure]:
    """Draw what became of the facts, by arm and by popularity, attention, heads and typical facts."""
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
    if strips := _strips(frame, pictures):
        caption = (
            "Typical suppressed facts: what the last token looks at (%, mean over layers and heads) in the "
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


@in_house_style
def _outcomes(frame: pd.DataFrame) -> Figure:
    known = _known(frame)
    table = pd.crosstab(known["arm"], known["verdict"], normalize="index").reindex(known["arm"].unique())
    counts = known.groupby("arm").size()
    figure = new_figure(width=6.4, height=0.9 + 0.45 * len(table))
    axes = figure.subplots()
    _stack(axes, table, [f"{arm} (n = {counts[arm]:,})" for arm in table.index])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


@in_house_style
def _popularity(frame: pd.DataFrame) -> Figure:
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


@in_house_style
def _attention(frame: pd.DataFrame) -> Figure:
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
        axes.set_xlabel(f"in {here['other'].iloc[0]}")
    grid[0].set_ylabel("in the arm")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, markerscale=3)
    return figure


@in_house_style
def _grids(heads: pd.DataFrame) -> Figure:
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
