"""Numbers with intervals below one another: for measures whose names are long, one colour a model or arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interp.reports.figures.curves import Curve
from interp.reports.figures.points import draw_points
from interp.reports.figures.style import arm_style, in_house_style, new_figure, shared_legend
from interp.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = 3.0  # inches that names take beside the panels


@in_house_style
def forest(series: Sequence[Curve], *, x: str, mark: float) -> Figure:
    """Draw each series' numbers at its places, the first on top; ``mark`` is what says nothing.

    A number that was not measured is left out.
    """
    places = list(dict.fromkeys(place for each in series for place in each.x))
    return _drawn({x: series}, {x: mark}, places, width=5.4, scale=1, apart=0.6 / max(1, len(series)))


@in_house_style
def forests(
    panels: Mapping[str, Sequence[Curve]],
    *,
    marks: Mapping[str, float],
    order: Sequence[str],
    percent: bool = False,
) -> Figure:
    """Draw several such panels side by side, each under what its x is; series share no place.

    ``order`` lists the places from the top; ``percent`` multiplies numbers and marks by 100.
    """
    scale = 100 if percent else 1
    return _drawn(panels, marks, order, width=NAMES + 1.6 * len(panels), scale=scale, apart=0.0)


def _drawn(
    panels: Mapping[str, Sequence[Curve]],
    marks: Mapping[str, float],
    places: Sequence[float | str],
    *,
    width: float,
    scale: float,
    apart: float,
) -> Figure:
    """Draw panels of one height; series lie ``apart`` around the line of their place."""
    labels = list(dict.fromkeys(each.label for some in panels.values() for each in some))
    figure = new_figure(width=width, height=0.8 + (0.34 if apart else 0.22) * len(places))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (x, series) in zip(grid, panels.items(), strict=True):
        _draw(axes, series, places, arm_style(labels), scale, apart)
        axes.axvline(scale * marks[x], color="0.6", linewidth=0.8, zorder=0)
        axes.set_xlabel(x)
    grid[0].set_yticks(range(len(places)), [str(place) for place in places])
    grid[0].set_ylim(max(1, len(places)) - 0.5, -0.5)
    shared_legend(figure, grid, labels, columns=5)
    return figure


def _draw(
    axes: Axes,
    series: Sequence[Curve],
    places: Sequence[float | str],
    styles: Mapping[str, Mapping[str, Any]],
    scale: float,
    apart: float,
) -> None:
    for k, each in enumerate(series):
        drawn = [
            (places.index(place) + (k - (len(series) - 1) / 2) * apart, number)
            for place, number in zip(each.x, each.y, strict=True)
            if number["value"] is not None
        ]
        heights, numbers = [y for y, _ in drawn], [Estimate(**number) for _, number in drawn]
        look = {"markersize": 4, "elinewidth": None, **styles[each.label], "linestyle": "none"}
        draw_points(axes, heights, numbers, scale=scale, across=True, label=each.label, **look)
