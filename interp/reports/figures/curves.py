"""Points, curves and forests: values with their 95% intervals, along a setting or below one another."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from interp.reports.figures import style
from interp.stats import Estimate

APART = 2.2  # points between the error bars of curves at one place
NAMES = 3.0  # inches that names take beside the panels of a forest
Number = Mapping[str, Any]  # value, low, high, n: an entry of results.json
Mark = tuple[float, str]  # where a reference line stands, and what it marks


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line: where it was measured, and an entry of results.json for each place."""

    label: str
    x: Sequence[float | str]
    y: Sequence[Number]


def draw_points(
    axes: Axes,
    places: Sequence[float | str],
    numbers: Sequence[Estimate | Number],
    *,
    scale: float = 1,
    across: bool = False,
    **look: Any,
) -> ErrorbarContainer:
    """Draw values with the interval around each; one without an interval keeps its bare point.

    Args:
        axes: where to draw.
        places: where each value stands; with ``across`` the heights of values drawn along x.
        numbers: estimates or entries of results.json; a value of None is not drawn.
        scale: what values and bounds are multiplied by.
        across: whether values lie along x.
        look: what matplotlib's ``errorbar`` takes.
    """
    entries = [asdict(number) if isinstance(number, Estimate) else number for number in numbers]
    values = [scale * (math.nan if entry["value"] is None else entry["value"]) for entry in entries]
    bars = [
        # A bootstrap interval can miss its own value by a rounding error, and matplotlib refuses that.
        [
            0.0 if entry[end] is None else max(0.0, sign * (scale * entry[end] - value))
            for entry, value in zip(entries, values, strict=True)
        ]
        for end, sign in (("low", -1), ("high", 1))
    ]
    line = {"capsize": 2, "elinewidth": 1, **look}
    if across:
        return axes.errorbar(values, places, xerr=bars, **line)
    return axes.errorbar(places, values, yerr=bars, **{"clip_on": False, **line})


@style.in_house_style
def curves(
    panels: Mapping[str, Sequence[Curve]],
    *,
    x: str,
    y: str,
    percent: bool = False,
    log: bool = False,
    zero: bool = False,
    share: bool = True,
    unit: str = "",
) -> Figure:
    """Draw panels of curves side by side; bars are the entries' intervals, and n stands below.

    Args:
        panels: the curves of each panel by its title; places that are words are spaced evenly.
        x: what places are.
        y: what values are.
        percent: whether to multiply by 100.
        log: whether to space x by ratios (powers of 2).
        zero: whether to mark no difference.
        share: whether all panels have one scale.
        unit: what n counts.
    """
    figure, grid = style.panels_of(len(panels), width=style.COLUMN, height=2.6, extra=0.3, sharey=share)
    labels = list(dict.fromkeys(curve.label for some in panels.values() for curve in some))
    styles = style.arm_style(labels)
    for axes, (title, some) in zip(grid, panels.items(), strict=True):
        for k, curve in enumerate(some):
            aside = APART * (k - (len(some) - 1) / 2)
            _draw_curve(axes, curve, styles[curve.label], 100 if percent else 1, aside)
        if zero:
            style.mark_line(axes, 0, "no difference" if axes is grid[-1] else "", upright=False)
        if log:
            axes.set_xscale("log", base=2)
            ticks = sorted({float(place) for curve in some for place in curve.x})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_title(title, fontsize="medium")
        counts = {int(number["n"]) for curve in some for number in curve.y if number.get("n")}
        axes.set_xlabel(f"{x}\n{counted(counts, unit)}")
    for axes in grid:
        if style.leftmost(axes):
            axes.set_ylabel(y)
    style.shared_legend(figure, grid, labels, columns=4 if figure.get_figwidth() > 5 else 2)
    return figure


@style.in_house_style
def forest(series: Sequence[Curve], *, x: str, mark: Mark) -> Figure:
    """Draw each series' numbers at its places, the first on top; ``mark`` is a reference line.

    A number that was not measured is left out.
    """
    places = list(dict.fromkeys(place for each in series for place in each.x))
    return _forests({x: series}, {x: mark}, places, width=5.4, scale=1, apart=0.6 / max(1, len(series)))


@style.in_house_style
def forests(
    panels: Mapping[str, Sequence[Curve]],
    *,
    marks: Mapping[str, Mark],
    order: Sequence[str],
    percent: bool = False,
) -> Figure:
    """Draw several such panels side by side, each under what its x is; series share no place.

    Args:
        panels: the series of each panel.
        marks: each panel's reference line.
        order: the places from the top.
        percent: whether to multiply numbers and marks by 100.
    """
    scale = 100 if percent else 1
    return _forests(panels, marks, order, width=NAMES + 1.6 * len(panels), scale=scale, apart=0.0)


def _forests(
    panels: Mapping[str, Sequence[Curve]],
    marks: Mapping[str, Mark],
    places: Sequence[float | str],
    *,
    width: float,
    scale: float,
    apart: float,
) -> Figure:
    """Draw panels of one height; series lie ``apart`` around the line of their place."""
    labels = list(dict.fromkeys(each.label for some in panels.values() for each in some))
    styles = style.arm_style(labels)
    figure = style.new_figure(width=width, height=0.8 + (0.34 if apart else 0.22) * len(places))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (x, series) in zip(grid, panels.items(), strict=True):
        for k, each in enumerate(series):
            aside = (k - (len(series) - 1) / 2) * apart
            there = [(places.index(p) + aside, n) for p, n in _measured(each)]
            look = {"markersize": 4, "elinewidth": None, **styles[each.label], "linestyle": "none"}
            heights, numbers = [height for height, _ in there], [number for _, number in there]
            draw_points(axes, heights, numbers, scale=scale, across=True, label=each.label, **look)
        style.mark_line(axes, scale * marks[x][0], marks[x][1])
        axes.set_xlabel(x)
    grid[0].set_yticks(range(len(places)), [str(place) for place in places])
    grid[0].set_ylim(max(1, len(places)) - 0.5, -0.5)
    style.shared_legend(figure, grid, labels, columns=5)
    return figure


def _draw_curve(axes: Axes, curve: Curve, look: Mapping[str, Any], scale: float, aside: float) -> None:
    """Draw one curve, its points ``aside`` (printer's points) of their places."""
    there = _measured(curve)
    look = {"markersize": 4, "clip_on": True, **look}
    places, numbers = [place for place, _ in there], [number for _, number in there]
    drawn = draw_points(axes, places, numbers, scale=scale, label=curve.label, **look)
    moved = axes.transData + ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
    for artist in drawn.get_children():
        artist.set_transform(moved)


def _measured(curve: Curve) -> list[tuple[float | str, Number]]:
    return [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if y["value"] is not None]


def count_span(counts: Iterable[int]) -> str:
    """Write counts as one number, or as the lowest and the highest."""
    low, high = min(counts := list(counts)), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def counted(counts: Iterable[int], unit: str) -> str:
    """Write what stands behind values, ``n = 12 facts``; nothing where nothing does.

    Of one the unit's first word loses its plural: ``n = 1 training of each arm``.
    """
    counts = list(counts)
    counted_unit = re.sub(r"s\b", "", unit, count=1) if set(counts) == {1} else unit
    return f"n = {count_span(counts)} {counted_unit}".rstrip() if counts else ""
