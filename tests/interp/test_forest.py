"""A forest has a row a place, what was not measured is left out, and bars are the intervals."""

from __future__ import annotations

import pytest

from interp.curves import Curve
from interp.forest import forest


def number(value: float | None, low: float | None, high: float | None) -> dict:
    return {"value": value, "low": low, "high": high, "n": 3}


def test_rows_bars_and_what_is_missing() -> None:
    a = Curve(label="top", x=["one", "two"], y=[number(0.5, 0.4, 0.7), number(None, None, None)])
    b = Curve(label="bottom", x=["one", "two"], y=[number(0.6, 0.6, 0.6), number(0.9, None, None)])
    (axes,) = forest([a, b], x="share", mark=0.5).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["one", "two"]
    first, second = axes.containers
    assert first.lines[0].get_xdata() == pytest.approx([0.5])
    (bars,) = first.lines[2]
    assert bars.get_segments()[0][:, 0] == pytest.approx([0.4, 0.7])
    assert second.lines[0].get_xdata() == pytest.approx([0.6, 0.9])
    top, bottom = first.lines[0].get_ydata()[0], second.lines[0].get_ydata()[0]
    assert top < 0 < bottom, "the first place is on top and series lie side by side around it"
    assert axes.get_ylim() == (1.5, -0.5)
