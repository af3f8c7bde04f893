"""What the subject's values still say (stored) and what attention lets through of it (used)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.reports.figures.points import count_span, draw_points
from interp.reports.figures.style import (
    INK,
    MUTED,
    arm_style,
    drawable_label,
    in_house_style,
    panels_of,
    room,
)
from interp.reports.read.frames import require_columns
from interp.reports.read.run import BASE, NotMeasured, Run
from interp.stats import estimate, over_seeds, overlap_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from interp.measures.value_readout import ValueReadout
    from interp.stats import Estimate

PANELS = {"stored": "stored: all subject\ntokens alike", "used": "used: weighted\nby attention"}


def stored_and_used(
    source: Run | Path | str | pd.DataFrame | Mapping[str, ValueReadout],
    *,
    right: Mapping[str, Sequence[bool]] | None = None,
    subjects: Sequence[Hashable] | None = None,
    arms: Sequence[str] | None = None,
) -> Figure:
    """Draw the answer's readout from the subject's values, unweighted and weighted by attention, by arm.

    Filled points are facts answered right, open ones facts answered wrong, of those that the base knows where
    the table says so. Values are logits over the mean of the relation's answers, as means with 95% intervals.

    Args:
        source: a run of attention_imbalance, its directory or table, or results of ``value_readout`` by arm.
        right: for results, which facts each arm answers right.
        subjects: for results, the subject of every fact.
        arms: which to draw, in this order; all without it.

    Raises:
        NotMeasured: the run holds no readouts.
        InputError: the table lacks an arm.
    """
    if isinstance(source, Mapping):
        frame = _table(source, right, subjects)
    else:
        frame = require_columns(source, ("subject", "correct"))
    if not {"stored", "used"} <= set(frame) or frame["stored"].isna().all():
        raise NotMeasured("What is stored and what is used is left out: this run did not read the values.")
    if "known" in frame:
        frame = frame[frame["known"].astype(bool)]
    if not len(frame):
        raise NotMeasured("What is stored and what is used is left out: the base knows none of the facts.")
    return _draw(require_columns(frame, (), arms))


def _table(
    readouts: Mapping[str, ValueReadout],
    right: Mapping[str, Sequence[bool]] | None,
    subjects: Sequence[Hashable] | None,
) -> pd.DataFrame:
    parts = []
    for arm, readout in readouts.items():
        names = list(range(len(readout.fact_ids))) if subjects is None else [str(each) for each in subjects]
        correct = True if right is None else np.asarray(right[arm], bool)
        parts.append(readout.to_frame().assign(arm=arm, subject=names, correct=correct))
    return pd.concat(parts, ignore_index=True)


@in_house_style
def _draw(frame: pd.DataFrame) -> Figure:
    arms = sorted(frame["arm"].unique(), key=lambda arm: arm != BASE)
    styles = arm_style(arms)
    width = 2.5 if room() > 5 else room()
    figure, grid = panels_of(2, width=width, height=0.7 + 0.38 * len(arms), sharey=True)
    for axes, (column, title) in zip(grid, PANELS.items(), strict=True):
        for y, arm in enumerate(arms):
            for correct, shift in ((True, -0.13), (False, 0.13)):
                rows = frame[(frame["arm"] == arm) & (frame["correct"].astype(bool) == correct)]
                found = mean_over(rows, column)
                if found is None:
                    continue
                colour = styles[arm]["color"]
                face = colour if correct else "none"
                style = {"marker": "o", "color": colour, "markerfacecolor": face, "linestyle": ""}
                draw_points(axes, [y + shift], [found], across=True, **style)
        axes.axvline(0, color=MUTED, linewidth=0.6)
        axes.set_xlabel(title)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.1)
        axes.set_yticks(range(len(arms)), [_name(frame, arm) for arm in arms])
    grid[0].set_ylim(len(arms) - 0.5, -0.5)
    for face, text in ((INK, "answered right"), ("none", "answered wrong")):
        style = {"marker": "o", "color": INK, "linestyle": ""}
        grid[0].plot([], [], markerfacecolor=face, label=text, **style)
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=2, handletextpad=0.2)
    return figure


def mean_over(rows: pd.DataFrame, column: str) -> Estimate | None:
    """Average a column over facts (bootstrap over subjects), or over seeds where there are several."""
    each = [
        estimate(part[column].to_numpy(float), groups=part["subject"].to_numpy(), share=False)
        for _, part in rows.groupby("seed", sort=False)
    ]
    each = [found for found in each if found.value is not None]
    if not each:
        return None
    return each[0] if len(each) == 1 else over_seeds(each, overlap=overlap_of(rows))


def _name(frame: pd.DataFrame, arm: str) -> str:
    rows = frame[frame["arm"] == arm]
    counts = [
        sorted(rows[rows["correct"].astype(bool) == flag].groupby("seed").size()) for flag in (True, False)
    ]
    n = " / ".join(count_span(some) if some else "0" for some in counts)
    return f"{drawable_label(arm, 18)}\nn = {n}"
