"""Curves with intervals: how a number changes along a setting, one line an arm, one panel a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.transforms import ScaledTranslation

from interp.reports.figures.points import count_span
from interp.reports.figures.style import (
    COLUMN,
    arm_style,
    in_house_style,
    leftmost,
    panels_of,
    shared_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

APART = 2.2  # points between the error bars of curves at one place
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
    share: bool = True,
    unit: str = "",
) -> Figure:
    """Draw panels of curves side by side; bars are the entries' intervals, and n stands below.

    ``percent`` multiplies by 100, ``log`` spaces x by ratios (powers of 2), ``zero`` marks no difference,
    ``share`` gives all panels one scale, ``unit`` says what n counts. Places that are words are spaced
    evenly.
    """
    figure, grid = panels_of(len(panels), width=COLUMN, height=2.6, extra=0.3, sharey=share)
    labels = list(dict.fromkeys(curve.label for some in panels.values() for curve in some))
    styles = arm_style(labels)
    for axes, (title, some) in zip(grid, panels.items(), strict=True):
        for k, curve in enumerate(some):
            aside = APART * (k - (len(some) - 1) / 2)
            _draw(axes, curve, styles[curve.label], 100 if percent else 1, aside)
        if zero:
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        if log:
            axes.set_xscale("log", base=2)
            ticks = sorted({float(place) for curve in some for place in curve.x})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel(f"{x}\n{_counted(some, unit)}")
    for axes in grid:
        if leftmost(axes):
            axes.set_ylabel(y)
    shared_legend(figure, grid, labels, columns=4 if figure.get_figwidth() > 5 else 2)
    return figure


def _counted(some: Sequence[Curve], unit: str) -> str:
    counts = sorted({int(number["n"]) for curve in some for number in curve.y if number.get("n")})
    return f"n = {count_span(counts)} {unit}".rstrip() if counts else ""


def _draw(axes: Axes, curve: Curve, style: Mapping[str, Any], scale: float, aside: float) -> None:
    """Draw one curve, its points ``aside`` (printer's points) of their places."""
    there = [i for i, number in enumerate(curve.y) if number["value"] is not None]
    value = [scale * curve.y[i]["value"] for i in there]
    bars = [
        [
            0.0 if curve.y[i][end] is None else abs(scale * curve.y[i][end] - v)
            for i, v in zip(there, value, strict=True)
        ]
        for end in ("low", "high")
    ]
    look = {"markersize": 4, "elinewidth": 1, "capsize": 2, **style}
    drawn = axes.errorbar([curve.x[i] for i in there], value, yerr=bars, label=curve.label, **look)
    moved = axes.transData + ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
    for artist in drawn.get_children():
        artist.set_transform(moved)
