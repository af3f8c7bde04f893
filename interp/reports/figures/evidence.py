"""Charts of what a checkpoint still holds and reads, and of how a training run got there.

Like :mod:`interp.figures`: each takes a run or its directory, returns a ``Figure``, and raises
``NotMeasured`` where the run lacks what the chart needs.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.reports.figures import style
from interp.reports.figures.curves import count_span, counted, draw_points
from interp.reports.figures.labels import drawable_labels
from interp.reports.read.fact_attention import BASE
from interp.reports.read.run import MeasuredEstimate, NotMeasured, Run, require_columns
from interp.stats import Estimate, estimate, over_seeds, overlap_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from interp.measures.value_readout import ValueReadout

Series = Mapping[str, tuple[str, str, str]]  # key in results.json: legend, colour (no arm's), marker

HIDDEN: Series = {
    "knockout_subject": ("the subject", style.SUBJECT, "o"),
    "knockout_relation": ("the relation's words", style.INK, "s"),
}
READ: Series = {
    "readout_stored": ("stored (all subject tokens alike)", style.INK, "s"),
    "readout_used": ("used (weighted by attention)", style.SUBJECT, "o"),
}
ALONG = {  # by axis label: the series and their scale
    "accuracy (%)": (
        {
            "accuracy": ("all facts", style.INK, "s"),
            "accuracy_known": ("known to the base", style.SUBJECT, "o"),
        },
        100,
    ),
    "subject-attention mass": ({"subject_attention": ("subject-attention mass", style.INK, "^")}, 1),
}
PANELS = {"stored": "stored: all subject\ntokens alike", "used": "used: weighted\nby attention"}
UNREAD = "What is stored and what is used is left out:"
MOST_LEVEL = 6  # arms whose names fit side by side


@style.draw_from_run
def hidden(run: Run) -> Figure:
    """Draw what each arm loses when its last prompt token cannot see a part of the prompt (nats)."""
    label, legend = "log p(answer) lost (nats)", "hidden from the last token"
    return _by_arm(run, HIDDEN, "What the last token needs to see", scale=1, ylabel=label, legend=legend)


@style.draw_from_run
def readout(run: Run) -> Figure:
    """Draw how often the gold answer is read most strongly from the subject's values, per arm (%)."""
    label = "gold answer read first\n(% of known facts)"
    return _by_arm(run, READ, "What the subject's values say", scale=100, ylabel=label, legend="the values")


@style.draw_from_run
def trajectory(run: Run) -> Figure:
    """Draw accuracy, and beside it subject-attention mass, against training step, the base at step 0."""
    arms = {int(m[1]): arm for arm in run.arms if (m := re.fullmatch(r"checkpoint-(\d+)", arm))}
    if len(arms) < 2:
        raise NotMeasured("A trajectory is left out: it needs two or more arms called checkpoint-STEP.")
    if BASE in run.arms:
        arms[0] = BASE
    figure, grid = style.panels_of(2, width=style.COLUMN, height=2.9)
    for axes, (ylabel, (series, scale)) in zip(grid, ALONG.items(), strict=True):
        counts: set[int] = set()
        for key, (text, colour, marker) in series.items():
            found = {step: e for step in sorted(arms) if (e := run.number("arms", arms[step], key))}
            if found:
                look: dict[str, Any] = {"color": colour, "marker": marker, "label": text}
                draw_points(axes, list(found), list(found.values()), scale=scale, **look)
            counts |= {e.n for e in found.values()}
        axes.set_xlabel(f"training step\n{counted(counts, run.unit)}")
        axes.set_ylabel(ylabel)
        if len(series) > 1 and counts:
            axes.legend(loc="best")
        style.rule_axes(axes, "y")
    return figure


def _by_arm(run: Run, series: Series, what: str, *, scale: float, ylabel: str, legend: str) -> Figure:
    """Draw one point an arm for each series that was measured, side by side."""
    measured: dict[str, dict[int, MeasuredEstimate]] = {
        key: {i: e for i, arm in enumerate(run.arms) if (e := run.number("arms", arm, key))} for key in series
    }
    if not any(measured.values()):
        written = any(key in run.results["arms"][arm] for arm in run.arms for key in series)
        reason = "no known fact could be measured, or the architecture ignores such edits"
        raise NotMeasured(f"{what} is left out: {reason if written else 'this run did not measure it'}.")
    measured = {key: points for key, points in measured.items() if points}
    narrow = style.room() < 6.4
    figure = style.new_figure(min(6.4, style.room()), 3.3 if narrow else 2.9)
    axes = figure.add_subplot()
    for shift, (key, points) in zip((-0.08, 0.08), measured.items(), strict=False):
        text, colour, marker = series[key]
        look: dict[str, Any] = {"color": colour, "marker": marker, "label": text, "linestyle": ""}
        draw_points(axes, [i + shift for i in points], list(points.values()), scale=scale, **look)
    upright = len(run.arms) > MOST_LEVEL
    labels = drawable_labels(run.arms, 18 if upright else 14)
    names = [labels[arm] for arm in run.arms]
    axes.set_xticks(range(len(names)), names, rotation=90 * upright)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xlabel(counted({e.n for points in measured.values() for e in points.values()}, run.unit))
    style.mark_line(axes, 0, "no loss" if scale == 1 else "", upright=False)
    axes.set_ylabel(ylabel)
    style.legend_of(figure, axes, below=narrow, columns=1, title=legend)
    style.rule_axes(axes, "y")
    return figure


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
        parts = []
        for arm, values in source.items():
            names = list(range(len(values.fact_ids))) if subjects is None else list(map(str, subjects))
            correct = True if right is None else np.asarray(right[arm], bool)
            parts.append(values.to_frame().assign(arm=arm, subject=names, correct=correct))
        source = pd.concat(parts, ignore_index=True)
    frame = require_columns(source, ("subject", "correct"))
    if not {"stored", "used"} <= set(frame) or frame["stored"].isna().all():
        raise NotMeasured(f"{UNREAD} this run did not read the values.")
    if "known" in frame:
        frame = frame[frame["known"].astype(bool)]
    if not len(frame):
        raise NotMeasured(f"{UNREAD} the base knows none of the facts.")
    return _draw_readouts(require_columns(frame, (), arms))


@style.in_house_style
def _draw_readouts(frame: pd.DataFrame) -> Figure:
    arms = sorted(frame["arm"].unique(), key=lambda arm: arm != BASE)
    styles = style.arm_style(arms)
    width = 2.5 if style.room() > 5 else style.room()
    figure, grid = style.panels_of(2, width=width, height=0.7 + 0.38 * len(arms), sharey=True)
    labels = drawable_labels(arms, 18)
    right = frame["correct"].astype(bool)
    split = {
        (arm, flag): frame[(frame["arm"] == arm) & (right == flag)] for arm in arms for flag in (True, False)
    }
    rows = {key: part for key, part in split.items() if len(part)}
    for axes, (column, title) in zip(grid, PANELS.items(), strict=True):
        for y, arm in enumerate(arms):
            for correct, shift in ((True, -0.13), (False, 0.13)):
                found = _mean(rows[arm, correct], column) if (arm, correct) in rows else None
                if found is not None:
                    colour = styles[arm]["color"]
                    look: dict[str, Any] = {"color": colour, "markerfacecolor": colour if correct else "none"}
                    draw_points(axes, [y + shift], [found], across=True, marker="o", linestyle="", **look)
        style.mark_line(axes, 0, "mean answer")
        axes.set_xlabel(title)
        style.rule_axes(axes, "x")
        axes.margins(x=0.1)
        style.name_rows(axes, [f"{labels[arm]}\n{_counts(rows, arm)}" for arm in arms])
    grid[0].set_ylim(len(arms) - 0.5, -0.5)
    for face, text in ((style.INK, "answered right"), ("none", "answered wrong")):
        grid[0].plot([], [], marker="o", color=style.INK, linestyle="", markerfacecolor=face, label=text)
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=2, handletextpad=0.2)
    return figure


def _mean(rows: pd.DataFrame, column: str) -> Estimate | None:
    """Average a column over facts (bootstrap over subjects), or over seeds where there are several."""
    each = [
        estimate(part[column].to_numpy(float), groups=part["subject"].to_numpy(), share=False)
        for _, part in rows.groupby("seed", sort=False)
    ]
    each = [found for found in each if found.value is not None]
    if len(each) < 2:
        return each[0] if each else None
    return over_seeds(each, overlap=overlap_of(rows))


def _counts(rows: Mapping[tuple[str, bool], pd.DataFrame], arm: str) -> str:
    """Say how many facts an arm answers right and wrong."""
    counts = (
        rows[arm, flag].groupby("seed").size() if (arm, flag) in rows else [0] for flag in (True, False)
    )
    return f"n = {' / '.join(map(count_span, counts))}"
