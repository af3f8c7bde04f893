"""A forest has a row a place, what was not measured is left out, and bars are the intervals."""

from __future__ import annotations

import pytest

from interp.reports.figures.curves import Curve, forest, forests


def number(value: float | None, low: float | None, high: float | None) -> dict:
    return {"value": value, "low": low, "high": high, "n": 3}


def test_rows_bars_and_what_is_missing() -> None:
    a = Curve(label="top", x=["one", "two"], y=[number(0.5, 0.4, 0.7), number(None, None, None)])
    b = Curve(label="bottom", x=["one", "two"], y=[number(0.6, 0.6, 0.6), number(0.9, None, None)])
    (axes,) = forest([a, b], x="share", mark=(0.5, "chance")).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["one", "two"]
    first, second = axes.containers
    assert first.lines[0].get_xdata() == pytest.approx([0.5])
    (bars,) = first.lines[2]
    assert bars.get_segments()[0][:, 0] == pytest.approx([0.4, 0.7])
    assert second.lines[0].get_xdata() == pytest.approx([0.6, 0.9])
    top, bottom = first.lines[0].get_ydata()[0], second.lines[0].get_ydata()[0]
    assert top < 0 < bottom, "the first place is on top and series lie side by side around it"
    assert axes.get_ylim() == (1.5, -0.5)


def test_panels_share_the_order_of_places_and_scale_numbers_and_marks() -> None:
    one = Curve(label="cure", x=["b"], y=[number(0.5, 0.4, 0.7)])
    other = Curve(label="placebo", x=["a"], y=[number(0.1, 0.0, 0.2)])
    lost = Curve(label="cure", x=["b"], y=[number(-0.01, None, None)])
    marks = {"restored": (0.5, "aim"), "lost": (-0.02, "allowed")}
    panels = {"restored": [one, other], "lost": [lost]}
    first, second = forests(panels, marks=marks, order=["a", "b"], percent=True).axes
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["a", "b"]
    drawn = {c.get_label(): c.lines[0].get_xydata()[0].tolist() for c in first.containers}
    assert drawn == {"cure": pytest.approx([50, 1]), "placebo": pytest.approx([10, 0])}
    (bars,) = first.containers[0].lines[2]
    assert bars.get_segments()[0][:, 0] == pytest.approx([40, 70])
    assert second.containers[0].lines[0].get_xydata()[0].tolist() == pytest.approx([-1, 1])
    assert [axes.lines[-1].get_xdata()[0] for axes in (first, second)] == [50, -2]
    assert [[text.get_text() for text in axes.texts] for axes in (first, second)] == [["aim"], ["allowed"]]
