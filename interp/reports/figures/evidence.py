"""Charts of what a checkpoint still holds and reads, and of how a training run got there.

Like :mod:`interp.figures`: each takes a run or its directory, returns a ``Figure``, and raises
``NotMeasured`` where the run lacks what the chart needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interp.reports.figures.points import count_span, draw_points
from interp.reports.figures.style import (
    COLUMN,
    INK,
    SUBJECT,
    draw_from_run,
    drawable_label,
    legend_of,
    new_figure,
    panels_of,
    room,
)
from interp.reports.read.run import BASE, MeasuredEstimate, NotMeasured, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = Mapping[str, tuple[str, str, str]]  # key in results.json: legend, colour (no arm's), marker

HIDDEN: Series = {
    "knockout_subject": ("the subject", SUBJECT, "o"),
    "knockout_relation": ("the relation's words", INK, "s"),
}
READ: Series = {
    "readout_stored": ("stored (all subject tokens alike)", INK, "s"),
    "readout_used": ("used (weighted by attention)", SUBJECT, "o"),
}
ACCURACY: Series = {
    "accuracy": ("all facts", INK, "s"),
    "accuracy_known": ("known to the base", SUBJECT, "o"),
}
ATTENTION: Series = {"subject_attention": ("subject-attention mass", INK, "^")}
MOST_LEVEL = 6  # arms whose names fit side by side


@draw_from_run
def hidden(run: Run) -> Figure:
    """Draw what each arm loses when its last prompt token cannot see a part of the prompt (nats)."""
    _require(run, HIDDEN, "What the last token needs to see")
    return _by_arm(
        run, HIDDEN, scale=1, ylabel="log p(answer) lost (nats)", legend="hidden from the last token"
    )


@draw_from_run
def readout(run: Run) -> Figure:
    """Draw how often the gold answer is read most strongly from the subject's values, per arm (%)."""
    _require(run, READ, "What the subject's values say")
    return _by_arm(
        run, READ, scale=100, ylabel="gold answer read first\n(% of known facts)", legend="the values"
    )


@draw_from_run
def trajectory(run: Run) -> Figure:
    """Draw accuracy, and beside it subject-attention mass, against training step, the base at step 0."""
    arms = {int(m[1]): arm for arm in run.arms if (m := re.fullmatch(r"checkpoint-(\d+)", arm))}
    if len(arms) < 2:
        raise NotMeasured("A trajectory is left out: it needs two or more arms called checkpoint-STEP.")
    if BASE in run.arms:
        arms[0] = BASE
    figure, grid = panels_of(2, width=COLUMN, height=2.9)
    panels = ((ACCURACY, 100, "accuracy (%)"), (ATTENTION, 1, "subject-attention mass"))
    for axes, (series, scale, ylabel) in zip(grid, panels, strict=True):
        counts: set[int] = set()
        for key, (text, colour, marker) in series.items():
            found = {step: e for step in sorted(arms) if (e := run.number("arms", arms[step], key))}
            if not found:
                continue
            style: dict[str, Any] = {"color": colour, "marker": marker, "label": text}
            draw_points(axes, list(found), list(found.values()), scale=scale, **style)
            counts |= {e.n for e in found.values()}
        axes.set_xlabel(f"training step\n{_counted(run, counts)}")
        axes.set_ylabel(ylabel)
        if len(series) > 1 and counts:
            axes.legend(loc="best")
        _grid(axes)
    return figure


def _require(run: Run, series: Series, what: str) -> None:
    """Raise ``NotMeasured``, with the reason, unless some arm has a number for some series."""
    if any(run.number("arms", arm, key) for arm in run.arms for key in series):
        return
    written = any(key in run.results["arms"][arm] for arm in run.arms for key in series)
    reason = (
        "no known fact could be measured, or the architecture ignores such edits"
        if written
        else "this run did not measure it"
    )
    raise NotMeasured(f"{what} is left out: {reason}.")


def _by_arm(run: Run, series: Series, *, scale: float, ylabel: str, legend: str) -> Figure:
    """Draw one point an arm for each series that was measured, side by side."""
    measured: dict[str, dict[int, MeasuredEstimate]] = {
        key: {i: e for i, arm in enumerate(run.arms) if (e := run.number("arms", arm, key))} for key in series
    }
    measured = {key: points for key, points in measured.items() if points}
    narrow = room() < 6.4
    figure = new_figure(min(6.4, room()), 3.3 if narrow else 2.9)
    axes = figure.add_subplot()
    for shift, (key, points) in zip((-0.08, 0.08), measured.items(), strict=False):
        text, colour, marker = series[key]
        style: dict[str, Any] = {"color": colour, "marker": marker, "label": text, "linestyle": ""}
        draw_points(axes, [i + shift for i in points], list(points.values()), scale=scale, **style)
    upright = len(run.arms) > MOST_LEVEL
    axes.set_xticks(
        range(len(run.arms)),
        [drawable_label(arm, 18 if upright else 14) for arm in run.arms],
        rotation=90 * upright,
    )
    axes.set_xlim(-0.5, len(run.arms) - 0.5)
    axes.set_xlabel(_counted(run, {e.n for points in measured.values() for e in points.values()}))
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_ylabel(ylabel)
    legend_of(figure, axes, below=narrow, columns=1, title=legend)
    _grid(axes)
    return figure


def _counted(run: Run, counts: set[int]) -> str:
    return f"n = {count_span(sorted(counts))} {run.unit}" if counts else ""


def _grid(axes: Axes) -> None:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
