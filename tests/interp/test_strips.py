"""Strips and curves: what is drawn is what was given, and shapes that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer

from interp.reports.figures.curves import Curve, curves
from interp.reports.figures.style import SUBJECT
from interp.reports.figures.token_rows import Strip, attention_strips

TOKENS = ("<s>", "Ada", "</script>", "was", "born")


def strip(weights: list[float]) -> Strip:
    marked = np.array([False, True, True, False, False])
    return Strip(title="$Ada$", tokens=TOKENS, subject=marked, rows={"top": np.array(weights)})


def test_a_strip_shows_every_weight_and_marks_the_subject() -> None:
    figure = attention_strips([strip([0.1, 0.6, 0.2, 0.1, 0.0]), strip([0.2] * 5)])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["10", "60", "20", "10"]
    labels = axes.get_xticklabels()
    assert [tick.get_text() for tick in labels] == list(TOKENS)
    assert [to_hex(tick.get_color()) == SUBJECT for tick in labels] == [False, True, True, False, False]
    assert axes.get_title(loc="left") == "$Ada$"
    assert len(figure.axes) == 2


def test_a_long_prompt_keeps_its_end() -> None:
    tokens = [f"t{i}" for i in range(40)]
    long = Strip(title="", tokens=tokens, subject=np.zeros(40, bool), rows={"a": np.eye(40)[39]})
    axes = attention_strips([long]).axes[0]
    assert axes.get_xticklabels()[-1].get_text() == "t39"
    assert [text.get_text() for text in axes.texts] == ["100"]


def test_weights_of_another_prompt_are_refused() -> None:
    with pytest.raises(ValueError, match="4 weights for 5 tokens"):
        strip([0.25] * 4)


def number(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "n": 3}


def test_curves_draw_values_and_their_intervals_and_leave_out_what_is_missing() -> None:
    curve = Curve(label="a", x=[1, 2, 4], y=[number(0.5, 0.4, 0.8), number(None), number(0.25)])
    figure = curves({"One": [curve], "Two": [curve]}, x="x", y="y", percent=True, log=True, zero=True)
    (bar,) = [c for c in figure.axes[0].containers if isinstance(c, ErrorbarContainer)]
    line, _, (bars,) = bar
    assert line.get_xdata().tolist() == [1, 4]
    assert line.get_ydata().tolist() == [50, 25]
    first, second = bars.get_segments()
    assert [round(y) for _, y in first] == [40, 80]
    assert [y for _, y in second] == [25, 25], "a value without an interval has none drawn"
    assert [axes.get_title() for axes in figure.axes] == ["One", "Two"]
