"""Heat maps of attention: every head of every arm, and one fact's tokens before and after.

As in ``interp.figures``, each function takes a run or its directory and returns a matplotlib ``Figure``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interp.circuits.facts import MOST_HEADS, FactAttention
from interp.circuits.rows import fact_rows
from interp.run import BASE, AttentionMaps, Example, NotMeasured, Run
from interp.style import DIVERGING, SEQUENTIAL, label, new_figure, styled

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MOST_ARMS = 4  # beside the base; more would be too narrow to read
SMALLEST_DOT = 0.06  # inches a cell; in smaller ones dots would hide the colours


def shown_arms(names: Sequence[str]) -> list[str]:
    """Choose the arms that a figure has room for: the base, then the others in their order."""
    others = [arm for arm in names if arm != BASE][: MOST_ARMS if BASE in names else MOST_ARMS + 1]
    return [arm for arm in names if arm == BASE] + others


def compared_arms(example: Example) -> list[str]:
    """Choose the arms of one fact's figure: base, top and bottom, or the base and the first others."""
    usual = [arm for arm in (BASE, "top", "bottom") if arm in example.patterns]
    return usual if len(usual) == 3 else shown_arms(list(example.patterns))


@styled
def attention_by_head(run: Run) -> Figure:
    """Draw mean subject-attention mass by layer and head for each arm, and below it the change against base.

    One colour scale serves each row. A dot marks a head whose 95% interval does not overlap the base's.
    """
    maps = run.attention
    if maps is None:
        raise NotMeasured("Attention by layer and head is left out: the run holds no attention.json.")
    arms = shown_arms([arm for arm in run.arms if arm in maps.mean] or list(maps.mean))
    changed = [arm for arm in arms if arm != BASE] if BASE in arms else []
    layers, heads = maps.mean[arms[0]].shape
    beside = len(changed) == 1  # one change fits into the same row
    columns, rows = (3, 1) if beside else (len(arms), 2 if changed else 1)
    width = 6.0 / max(columns, 2)
    height = min(max(width * layers / heads, 0.34 * layers, 0.8), 3.4)
    cell = (0.85 * width / heads, height / layers)
    figure = new_figure(7.0, rows * (height + 0.55) + 0.2)
    grid = figure.subplots(rows, columns, squeeze=False)
    above, below = (grid[0][:2], grid[0][2:]) if beside else (grid[0], grid[-1][1:] if changed else [])

    top = max(maps.mean[arm].max() for arm in arms)
    for axes, arm in zip(above, arms, strict=True):
        image = _map(axes, maps.mean[arm], cell, cmap=SEQUENTIAL, vmin=0, vmax=top)
        axes.set_title(label(arm, 20), weight="bold")
    _bar(figure, image, above, f"mass (n = {maps.n:,})", width)
    reach = max((abs(maps.mean[arm] - maps.mean[BASE]).max() for arm in changed), default=0) or 1e-3
    for axes, arm in zip(below, changed, strict=True):
        change = maps.mean[arm] - maps.mean[BASE]
        image = _map(axes, change, cell, cmap=DIVERGING, vmin=-reach, vmax=reach, sign=True)
        axes.set_title(f"{label(arm, 14)} \u2212 base")
        _mark(axes, maps, arm, image, cell)
    if changed:
        _bar(figure, image, below, "change", width)
    for axes in (*above, *below):
        _index_ticks(axes, layers, heads, width)
    for axes in grid[:, 0]:
        axes.set_ylabel("layer")
    if rows == 2:
        grid[1][0].set_axis_off()
    return figure


@styled
def fact_attention(run: Run, *, arms: Sequence[str] | None = None, heads: int = MOST_HEADS) -> Figure:
    """Draw one fact's attention from the last token, head by head, the arms of a head under each other.

    Heads stand in order of how much the subject's share changed; the number on the right is that share.
    """
    if run.example is None:
        raise NotMeasured("One fact's attention is left out: the run holds no example.json.")
    names = list(arms or compared_arms(run.example))
    return fact_rows(FactAttention.of(run.example, heads=None, arms=names).first(heads))


def _map(
    axes: Axes, values: np.ndarray, cell: tuple[float, float], *, sign: bool = False, **scale: Any
) -> AxesImage:
    """Draw one layer-by-head map, with its numbers if a cell (inches) has room for them."""
    image = axes.imshow(values, aspect="auto", interpolation="none", **scale)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if cell[0] < (0.24 if sign else 0.19) or cell[1] < 0.13:
        return image
    for (layer, head), value in _cells(values):
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": 5.5 if sign else 6,
            "color": _ink(image, value),
        }
        axes.text(head, layer, _short(value, sign=sign), **style)
    return image


def _bar(figure: Figure, image: ScalarMappable, beside: Sequence[Axes], text: str, width: float) -> None:
    """Put a colour bar beside panels of ``width`` inches; it is as wide for one as for many."""
    fraction = 0.12 / (len(beside) * width)
    figure.colorbar(image, ax=list(beside), label=text, fraction=fraction, aspect=20, pad=0.02)


def _mark(axes: Axes, maps: AttentionMaps, arm: str, image: AxesImage, cell: tuple[float, float]) -> None:
    """Put a dot into the corner of every head whose interval is apart from the base's."""
    if min(cell) < SMALLEST_DOT:
        return
    change = maps.mean[arm] - maps.mean[BASE]
    moved = [at for at, apart in _cells(maps.moved(arm, BASE)) if apart]
    axes.scatter(
        [head + 0.38 for _, head in moved],
        [layer - 0.36 for layer, _ in moved],
        s=min(2.6, 24 * min(cell)) ** 2,
        c=[_ink(image, change[at]) for at in moved] or None,
        linewidths=0,
    )


def _ink(image: AxesImage, value: Any) -> str:
    """Choose black or white, whichever is read more easily on the colour of ``value``."""
    red, green, blue, _ = image.cmap(image.norm(value))
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "#111111"


def _cells(values: np.ndarray) -> list[tuple[tuple[int, int], Any]]:
    return [((i, j), values[i, j]) for i in range(values.shape[0]) for j in range(values.shape[1])]


def _short(value: float, *, sign: bool) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    if not sign or text == ".00":
        return text
    return ("\u2212" if value < 0 else "+") + text


def _index_ticks(axes: Axes, layers: int, heads: int, width: float) -> None:
    axes.set_yticks(range(0, layers, 1 + (layers - 1) // 8))
    axes.set_xticks(range(0, heads, 1 + (heads - 1) // max(2, int(width / 0.25))))
    axes.set_xlabel("head")
