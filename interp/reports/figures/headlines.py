"""Charts of a run's headline numbers: accuracy by popularity, contrasts, and what a transplant recovers.

Each function takes a run directory, or a ``Run`` read from one, and returns a matplotlib ``Figure``; it
raises ``NotMeasured`` where the run lacks what the chart needs.
"""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from interp.reports.figures import style
from interp.reports.figures.curves import count_span, counted, draw_points
from interp.reports.figures.labels import drawable_label, drawable_labels
from interp.reports.read.run import MeasuredEstimate, NotMeasured, Run

QUARTILES = ("q1", "q2", "q3", "q4")
MEASURES = {  # key in results.json: axis label, scale
    "accuracy_known": ("accuracy, facts the base knows\n(percentage points)", 100),
    "accuracy": ("accuracy, all test facts\n(percentage points)", 100),
    "subject_attention": ("subject-attention mass", 1),
}
POOLED: dict[str, Any] = {"marker": "D", "markersize": 5.5, "color": style.OKABE_ITO[0], "elinewidth": 1.6}
SINGLE: dict[str, Any] = {"marker": "o", "markersize": 4, "color": style.MUTED, "elinewidth": 1}


@style.draw_from_run
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
    figure = style.new_figure(min(5.4, style.room()), 3.1)
    axes = figure.add_subplot()
    styles, labels = style.arm_style(list(measured)), drawable_labels(measured, 24)
    step = min(0.09, 0.5 / len(measured))
    for i, (arm, points) in enumerate(measured.items()):
        places = [q + (i - (len(measured) - 1) / 2) * step for q in points]
        draw_points(axes, places, list(points.values()), label=labels[arm], scale=100, **styles[arm])
    axes.set_xticks(range(4), [_quartile_label(measured, i) for i in range(4)])
    axes.set_xlim(-0.5, 3.5)
    top = max(e.value for points in measured.values() for e in points.values())
    axes.set_ylim(0, max(100.0, axes.get_ylim()[1]) if top > 0.6 else None)
    axes.set_ylabel("accuracy (%)")
    style.rule_axes(axes, "y")
    style.legend_of(figure, axes, below=style.room() < 5.4, handlelength=2.2)
    return figure


def drawn_contrasts(run: Run) -> tuple[str, ...]:
    """Name the contrasts that the forest shows: of halves over several seeds the first alone."""
    return tuple(run.contrasts[:1] if len(run.seeds) > 1 and run.halves else run.contrasts)


@style.draw_from_run
def contrasts(run: Run) -> Figure:
    """Draw the paired contrasts as a forest: with several seeds, one row a seed above their mean."""
    several, names = len(run.seeds) > 1, drawn_contrasts(run)
    columns = [m for m in MEASURES if any(run.number("contrasts", c, m) for c in names)]
    if not columns:
        raise NotMeasured("Contrasts are left out: the run compares no arms.")
    rows = [(c, seed) for c in names for seed in ((*run.seeds, None) if several else (None,))]
    width, height = 7 / 3 if style.room() > 5 else style.room(), 0.95 + 0.24 * len(rows)
    figure, grid = style.panels_of(len(columns), width=width, height=height)
    for axes, measure in zip(grid, columns, strict=True):
        axis_label, scale = MEASURES[measure]
        style.mark_line(axes, 0, "no difference")
        for y, (name, seed) in enumerate(rows):
            if found := run.number("contrasts", name, measure, seed=seed):
                look = POOLED if seed is None else SINGLE
                draw_points(axes, [y], [found], scale=scale, across=True, linestyle="", **look)
        counts = {e.n for name in names if (e := run.number("contrasts", name, measure))}
        axes.set_xlabel(f"{axis_label}\n{counted(counts, run.unit)}")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=5 if scale == 100 else 3)  # small fractions are long
        first = style.leftmost(axes)
        style.name_rows(axes, [_row_label(run, *row) if first else "" for row in rows])
    return figure


@style.draw_from_run
def recovery(run: Run) -> Figure:
    """Draw how many lost facts the right attention rows bring back, beside a wrong subject's rows."""
    names = {"pattern_only": "this fact's rows\nfrom top", "placebo": "another subject's\nrows (placebo)"}
    bars = {name: e for name in names if (e := run.number("recovery", name))}
    if len(bars) < 2:
        raise NotMeasured(
            "Recovery by transplant is left out: it needs facts that top gets right and bottom wrong."
        )
    figure = style.new_figure(3.4, 2.9)
    axes = figure.add_subplot()
    for x, (found, colour) in enumerate(zip(bars.values(), (style.OKABE_ITO[0], "#9a9ea6"), strict=True)):
        value = 100 * found.value
        axes.bar(x, value, width=0.56, color=colour)
        draw_points(axes, [x], [found], scale=100, color=style.INK, marker="", linestyle="")
        at = (x, value if found.high is None else 100 * found.high)
        look: dict[str, Any] = {"ha": "center", "weight": "bold"}
        axes.annotate(f"{value:.0f}%", at, (0, 3), textcoords="offset points", **look)
    axes.set_xticks(range(2), [f"{names[name]}\nn = {e.n:,}" for name, e in bars.items()])
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.08, 10))
    axes.set_ylabel("facts bottom lost and\nnow answers (%)")
    style.rule_axes(axes, "y")
    return figure


def _quartile_label(measured: dict[str, dict[int, MeasuredEstimate]], i: int) -> str:
    name = ("1\nmost popular", "2\n", "3\n", "4\nleast popular")[i]
    counts = {points[i].n for points in measured.values() if i in points}
    return f"{name}\nn = {count_span(counts)}" if counts else name.rstrip("\n")


def _row_label(run: Run, name: str, seed: str | None) -> str:
    first, _, second = name.rpartition("_minus_")
    labels = drawable_labels([*run.arms, first, second])
    pair = f"{labels[first]} \u2212 {labels[second]}" if first else drawable_label(name, 36)
    if len(run.seeds) < 2:
        return pair
    return f"{pair}, mean" if seed is None else f"seed {drawable_label(seed)}"
