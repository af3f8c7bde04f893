"""Curves with intervals: how a number changes along a setting, one line an arm, one panel a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp.style import arm_style, in_house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Number = Mapping[str, Any]  # value, low, high, n: an entry of results.json


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line: where it was measured, and an entry of results.json for each place."""

    label: str
    x: Sequence[float | str]
    y: Sequence[Number]


@in_house_style
def curves(
    panels: Mapping[str, Sequence[Curve]],
    *,
    x: str,
    y: str,
    percent: bool = False,
    log: bool = False,
    zero: bool = False,
) -> Figure:
    """Draw panels of curves side by side with one scale; bars are the entries' intervals.

    ``percent`` multiplies by 100, ``log`` spaces x by ratios (powers of 2), ``zero`` marks no difference.
    Places that are words are spaced evenly.
    """
    figure = new_figure(width=min(7.2, 1.0 + 3.1 * len(panels)), height=2.9)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    labels = list(dict.fromkeys(curve.label for some in panels.values() for curve in some))
    styles = arm_style(labels)
    for axes, (title, some) in zip(grid, panels.items(), strict=True):
        for curve in some:
            _draw(axes, curve, styles[curve.label], 100 if percent else 1)
        if zero:
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        if log:
            axes.set_xscale("log", base=2)
            ticks = sorted({float(place) for curve in some for place in curve.x})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel(x)
    grid[0].set_ylabel(y)
    if len(labels) > 1:
        drawn = {h.get_label(): h for axes in grid for h in axes.get_legend_handles_labels()[0]}
        figure.legend(
            list(drawn.values()),
            list(drawn),
            loc="outside lower center",
            ncols=min(4, len(labels)),
            frameon=False,
        )
    return figure


def _draw(axes: Axes, curve: Curve, style: Mapping[str, Any], scale: float) -> None:
    there = [i for i, number in enumerate(curve.y) if number["value"] is not None]
    value = [scale * curve.y[i]["value"] for i in there]
    bars = [
        [
            0.0 if curve.y[i][end] is None else abs(scale * curve.y[i][end] - v)
            for i, v in zip(there, value, strict=True)
        ]
        for end in ("low", "high")
    ]
    axes.errorbar(
        [curve.x[i] for i in there], value, yerr=bars, label=curve.label, markersize=4, capsize=2, **style
    )
