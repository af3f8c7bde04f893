"""Numbers with intervals below one another: for measures whose names are long, one colour a model or arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interp.curves import Curve
from interp.style import arm_style, in_house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@in_house_style
def forest(series: Sequence[Curve], *, x: str, mark: float) -> Figure:
    """Draw each series' numbers at its places, the first on top; ``mark`` is what says nothing.

    A number that was not measured is left out.
    """
    places = list(dict.fromkeys(place for each in series for place in each.x))
    styles = arm_style([each.label for each in series])
    figure = new_figure(width=5.4, height=0.8 + 0.34 * len(places))
    axes = figure.subplots()
    step = 0.6 / max(1, len(series))
    for k, each in enumerate(series):
        drawn = [
            (places.index(place) + (k - (len(series) - 1) / 2) * step, number)
            for place, number in zip(each.x, each.y, strict=True)
            if number["value"] is not None
        ]
        value = [number["value"] for _, number in drawn]
        ends = [
            [abs((v if n[end] is None else n[end]) - v) for v, (_, n) in zip(value, drawn, strict=True)]
            for end in ("low", "high")
        ]
        style = {**styles[each.label], "linestyle": "none"}
        axes.errorbar(
            value, [y for y, _ in drawn], xerr=ends, label=each.label, markersize=4, capsize=2, **style
        )
    axes.axvline(mark, color="0.6", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(places)), [str(place) for place in places])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlabel(x)
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=min(5, len(series)), frameon=False)
    return figure
