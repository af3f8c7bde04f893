"""Charts of a run's headline numbers: accuracy by popularity, contrasts, and what a transplant recovers.

Each function takes a run directory, or a ``Run`` read from one, and returns a matplotlib ``Figure``; it
raises ``NotMeasured`` where the run lacks what the chart needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interp.reports.figures.points import count_span, draw_points
from interp.reports.figures.style import (
    INK,
    MUTED,
    OKABE_ITO,
    arm_style,
    draw_from_run,
    drawable_label,
    leftmost,
    legend_of,
    new_figure,
    panels_of,
    room,
)
from interp.reports.read.run import MeasuredEstimate, NotMeasured, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


QUARTILES = ("q1", "q2", "q3", "q4")
MEASURES = {  # key in results.json: axis label, scale
    "accuracy_known": ("accuracy, facts the base knows\n(percentage points)", 100),
    "accuracy": ("accuracy, all test facts\n(percentage points)", 100),
    "subject_attention": ("subject-attention mass", 1),
}


@draw_from_run
def accuracy_by_quartile(run: Run) -> Figure:
    """Draw accuracy by popularity quartile, one line an arm, the base dashed; n stands on the axis."""
    measured = {
        arm: {
            i: e for i, q in enumerate(QUARTILES) if (e := run.number("arms", arm, "accuracy_by_quartile", q))
        }
        for arm in run.arms
    }
    measured = {arm: points for arm, points in measured.items() if points}
    if not measured:
        raise NotMeasured("Accuracy by popularity is left out: the facts carry no popularity.")
    narrow = room() < 5.4
    figure = new_figure(min(5.4, room()), 3.1)
    axes = figure.add_subplot()
    styles = arm_style(list(measured))
    step = min(0.09, 0.5 / len(measured))
    for i, (arm, points) in enumerate(measured.items()):
        shift = (i - (len(measured) - 1) / 2) * step
        draw_points(
            axes,
            [q + shift for q in points],
            list(points.values()),
            label=drawable_label(arm, 24),
            scale=100,
            **styles[arm],
        )
    axes.set_xticks(range(4), [_quartile_label(measured, i) for i in range(4)])
    axes.set_xlim(-0.5, 3.5)
    axes.set_ylim(0, max(100.0, axes.get_ylim()[1]) if _top(measured) > 0.6 else None)
    axes.set_ylabel("accuracy (%)")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    legend_of(figure, axes, below=narrow, handlelength=2.2)
    return figure


@draw_from_run
def contrasts(run: Run) -> Figure:
    """Draw the paired contrasts as a forest: with several seeds, one row a seed above their mean."""
    names = run.contrasts[:1] if len(run.seeds) > 1 and "top_minus_bottom" in run.contrasts else run.contrasts
    columns = [m for m in MEASURES if any(run.number("contrasts", c, m) for c in names)]
    if not columns:
        raise NotMeasured("Contrasts are left out: the run compares no arms.")
    rows = [(c, seed) for c in names for seed in ((*run.seeds, None) if len(run.seeds) > 1 else (None,))]
    figure, grid = panels_of(
        len(columns), width=7 / 3 if room() > 5 else room(), height=0.95 + 0.24 * len(rows)
    )
    for axes, measure in zip(grid, columns, strict=True):
        axis_label, scale = MEASURES[measure]
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for y, (name, seed) in enumerate(rows):
            if estimate := run.number("contrasts", name, measure, seed=seed):
                _row(axes, y, estimate, scale, pooled=seed is None)
        axes.set_xlabel(f"{axis_label}\n{_counts(run, names, measure)}")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=5 if scale == 100 else 3)  # small fractions are long
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        first = leftmost(axes)
        axes.set_yticks(range(len(rows)), [_row_label(run, *row) if first else "" for row in rows])
    return figure


@draw_from_run
def recovery(run: Run) -> Figure:
    """Draw how many lost facts the right attention rows bring back, beside a wrong subject's rows."""
    bars = {name: e for name in ("pattern_only", "placebo") if (e := run.number("recovery", name))}
    if len(bars) < 2:
        raise NotMeasured(
            "Recovery by transplant is left out: it needs facts that top gets right and bottom wrong."
        )
    figure = new_figure(3.4, 2.9)
    axes = figure.add_subplot()
    names = {"pattern_only": "this fact's rows\nfrom top", "placebo": "another subject's\nrows (placebo)"}
    colours = {"pattern_only": OKABE_ITO[0], "placebo": "#9a9ea6"}
    for x, (name, estimate) in enumerate(bars.items()):
        axes.bar(x, 100 * estimate.value, width=0.56, color=colours[name])
        draw_points(axes, [x], [estimate], scale=100, color=INK, marker="", linestyle="")
        top = 100 * (estimate.value if estimate.high is None else estimate.high)
        axes.annotate(
            f"{100 * estimate.value:.0f}%",
            (x, top),
            (0, 3),
            textcoords="offset points",
            ha="center",
            weight="bold",
        )
    axes.set_xticks(range(2), [f"{names[name]}\nn = {e.n:,}" for name, e in bars.items()])
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.08, 10))
    axes.set_ylabel("facts bottom lost and\nnow answers (%)")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return figure


def _row(axes: Axes, y: float, estimate: MeasuredEstimate, scale: float, *, pooled: bool) -> None:
    draw_points(
        axes,
        [y],
        [estimate],
        scale=scale,
        across=True,
        marker="D" if pooled else "o",
        markersize=5.5 if pooled else 4,
        color=OKABE_ITO[0] if pooled else MUTED,
        elinewidth=1.6 if pooled else 1,
        linestyle="",
    )


def _quartile_label(measured: dict[str, dict[int, MeasuredEstimate]], i: int) -> str:
    ends = {0: "1\nmost popular", 3: "4\nleast popular"}
    counts = sorted({points[i].n for points in measured.values() if i in points})
    if not counts:
        return ends.get(i, str(i + 1))
    return f"{ends.get(i, str(i + 1) + chr(10))}\nn = {count_span(counts)}"


def _top(measured: dict[str, dict[int, MeasuredEstimate]]) -> float:
    return max(e.value for points in measured.values() for e in points.values())


def _row_label(run: Run, name: str, seed: str | None) -> str:
    first, _, second = name.rpartition("_minus_")
    pair = f"{drawable_label(first)} \u2212 {drawable_label(second)}" if first else drawable_label(name, 36)
    if len(run.seeds) < 2:
        return pair
    return f"{pair}, mean" if seed is None else f"seed {drawable_label(seed)}"


def _counts(run: Run, names: Sequence[str], measure: str) -> str:
    counts = sorted({e.n for name in names if (e := run.number("contrasts", name, measure))})
    return f"n = {count_span(counts)} {run.unit}" if counts else ""
