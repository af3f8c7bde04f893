"""Points with intervals, as several figures draw them, and how their n is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Number(Protocol):
    """What a point needs: a value (not drawn where it is None), and bounds that may be missing."""

    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102


def draw_points(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Number],
    *,
    scale: float = 1,
    across: bool = False,
    **style: Any,
) -> None:
    """Draw values with the interval around each; one without an interval keeps its bare point.

    ``across`` draws the values along x, at the heights ``x``.
    """
    y = [scale * _value(e) for e in estimates]
    line = {"capsize": 2, "elinewidth": 1, **style}
    if across:
        axes.errorbar(y, x, xerr=error_bars(estimates, scale), **line)
    else:
        axes.errorbar(x, y, yerr=error_bars(estimates, scale), clip_on=False, **line)


def error_bars(estimates: Sequence[Number], scale: float = 1) -> list[list[float]]:
    """Return how far each interval reaches below and above its value, as matplotlib wants it."""
    below = [scale * (_value(e) - e.low) if e.low is not None else 0.0 for e in estimates]
    above = [scale * (e.high - _value(e)) if e.high is not None else 0.0 for e in estimates]
    # A bootstrap interval can miss its own value by a rounding error, and matplotlib refuses that.
    return [[max(0.0, v) for v in side] for side in (below, above)]


def _value(estimate: Number) -> float:
    return math.nan if estimate.value is None else estimate.value


def count_span(counts: Sequence[int]) -> str:
    """Write sorted counts as one number, or as the lowest and the highest."""
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"
