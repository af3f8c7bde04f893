"""Heat maps of attention: every head of every arm, and one fact's tokens before and after.

As in ``interp.figures``, each function takes a run or its directory and returns a matplotlib ``Figure``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.reports.figures import style
from interp.reports.figures.labels import drawable_labels
from interp.reports.figures.token_rows import fact_rows
from interp.reports.read.fact_attention import BASE, MOST_HEADS, FactAttention
from interp.reports.read.run import NotMeasured, Run

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from interp.measures.attention import AttentionMass

MOST_ARMS = 4  # beside the base; more would be too narrow to read
SMALLEST_DOT = 0.06  # inches a cell; in smaller ones dots would hide the colours


def select_arms(names: Sequence[str]) -> list[str]:
    """Choose the arms that a figure has room for: the base, then the others in their order."""
    others = [arm for arm in names if arm != BASE][: MOST_ARMS if BASE in names else MOST_ARMS + 1]
    return [arm for arm in names if arm == BASE] + others


@style.draw_from_run
def attention_by_head(run: Run) -> Figure:
    """Draw mean subject-attention mass by layer and head for each arm, and below it the change against base.

    One colour scale serves each row. A dot marks a head whose 95% interval does not overlap the base's.
    """
    maps = run.attention
    if maps is None:
        raise NotMeasured("Attention by layer and head is left out: the run holds no attention.json.")
    arms = select_arms([arm for arm in run.arms if arm in maps.mean] or list(maps.mean))
    changed = [arm for arm in arms if arm != BASE] if BASE in arms else []
    return _maps(
        {arm: maps.mean[arm] for arm in arms}, {arm: maps.moved(arm, BASE) for arm in changed}, maps.n
    )


def attention_change(
    before: AttentionMass,
    after: AttentionMass,
    *,
    groups: Sequence[Hashable] | None = None,
    names: tuple[str, str] = (BASE, "fine-tuned"),
) -> Figure:
    """Draw mean subject-attention mass by layer and head before and after, and the change.

    A dot marks a head whose change passes 5%, corrected for all heads
    (:func:`interp.measures.head_changes.rank_heads`).

    Args:
        before: what :func:`interp.measures.attention.subject_attention` measured on the one model.
        after: the same facts on the other.
        groups: the subject of every fact; without it each fact stands alone.
        names: what the two are called; the first is what the change is measured against.

    Raises:
        InputError: the two were not measured on the same facts, or there is not one group for each.
    """
    from interp.measures.head_changes import imbalance, rank_heads  # the one figure that needs torch

    ranking = rank_heads(imbalance(before, after), groups=groups)
    means = dict(zip(names, (before.values.mean(0).numpy(), after.values.mean(0).numpy()), strict=True))
    moved = {names[1]: (ranking.corrected < 0.05).numpy()}
    return style.in_house_style(_maps)(means, moved, len(before.fact_ids), reference=names[0])


@style.draw_from_run
def fact_attention(run: Run, *, arms: Sequence[str] | None = None, heads: int = MOST_HEADS) -> Figure:
    """Draw one fact's attention from the last token, head by head, the arms of a head under each other.

    Heads stand in order of how much the subject's share changed; the number on the right is that share.
    """
    if run.example is None:
        raise NotMeasured("One fact's attention is left out: the run holds no example.json.")
    held = list(run.example.patterns)
    usual = [arm for arm in (BASE, "top", "bottom") if arm in held]
    names = list(arms or (usual if len(usual) == 3 else select_arms(held)))
    return fact_rows(FactAttention.of(run.example, heads=None, arms=names).first(heads))


def _maps(
    mean: Mapping[str, np.ndarray], moved: Mapping[str, np.ndarray], n: int, *, reference: str = BASE
) -> Figure:
    """Draw a map a model, and below or beside it the change of those in ``moved``, whose heads get dots."""
    layers, heads = next(iter(mean.values())).shape
    beside = len(moved) == 1 and style.room() > 5  # one change fits into the same row
    down = not beside and style.room() < 5  # a row a model, its change beside it
    columns, rows = (3, 1) if beside else (len(mean), 2 if moved else 1)
    columns, rows = (rows, columns) if down else (columns, rows)
    width = (style.room() - 1.0) / max(columns, 2)
    height = min(max(width * layers / heads, (0.2 if down else 0.34) * layers, 0.8), 3.4)
    cell = (0.85 * width / heads, height / layers)
    figure = style.new_figure(min(7.0, style.room()), rows * (height + 0.55) + 0.2)
    grid = figure.subplots(rows, columns, squeeze=False)
    lines = grid.T if down else grid
    above, below = (grid[0][:2], grid[0][2:]) if beside else (lines[0], lines[-1][1:] if moved else [])

    scales = {"cmap": style.SEQUENTIAL, "vmin": 0, "vmax": max(table.max() for table in mean.values())}
    names, short = (drawable_labels(mean, longest) for longest in (20, 14))
    for axes, (arm, table) in zip(above, mean.items(), strict=True):
        image = draw_map(axes, table, cell, **scales)
        axes.set_title(names[arm], weight="bold")
    _colour_bar(figure, image, above, f"mass (n = {n:,})", width, below=down)
    changes = {arm: mean[arm] - mean[reference] for arm in moved}
    reach = max((abs(change).max() for change in changes.values()), default=0) or 1e-3
    scales = {"cmap": style.DIVERGING, "vmin": -reach, "vmax": reach}
    for axes, (arm, change) in zip(below, changes.items(), strict=True):
        image = draw_map(axes, change, cell, sign=True, marked=moved[arm], **scales)
        axes.set_title(f"{short[arm]} \u2212 {short[reference]}")
    if moved:
        _colour_bar(figure, image, below, "change", width, below=down)
    for axes in (*above, *below):
        index_ticks(axes, layers, heads, width)
    for axes in grid[:, 0]:
        axes.set_ylabel("layer")
    if moved and not beside:
        lines[1][0].set_axis_off()
    return figure


def draw_map(
    axes: Axes,
    values: Float[np.ndarray, "layer head"],
    cell: tuple[float, float],
    *,
    sign: bool = False,
    marked: Bool[np.ndarray, "layer head"] | None = None,
    **scale: Any,
) -> AxesImage:
    """Draw one layer-by-head map, its numbers and marks as far as there is room for them.

    Args:
        axes: where to draw.
        values: what is coloured; NaN was not measured.
        cell: how wide and high a cell is, in inches.
        sign: whether numbers bear their sign.
        marked: heads that get a dot in their corner.
        scale: what matplotlib's ``imshow`` takes.
    """
    image = axes.imshow(values, aspect="auto", interpolation="none", **scale)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    inks = [
        "#ffffff" if np.dot((0.299, 0.587, 0.114), image.cmap(image.norm(v))[:3]) < 0.55 else "#111111"
        for v in values.flat
    ]
    if cell[0] >= (0.24 if sign else 0.19) and cell[1] >= 0.13:
        size = min(7.0, (23 if sign else 30) * cell[0])
        for ((layer, head), value), ink in zip(np.ndenumerate(values), inks, strict=True):
            if not np.isnan(value):
                text = f"{abs(value):.2f}".removeprefix("0")
                text = ("\u2212" if value < 0 else "+") + text if sign and text != ".00" else text
                axes.text(head, layer, text, ha="center", va="center", fontsize=size, color=ink)
    if marked is not None and min(cell) >= SMALLEST_DOT:
        layers, heads = np.nonzero(marked)
        colours = [ink for ink, wanted in zip(inks, marked.flat, strict=True) if wanted] or None
        size = min(2.6, 24 * min(cell)) ** 2
        axes.scatter(heads + 0.38, layers - 0.36, s=size, c=colours, linewidths=0)
    return image


def _colour_bar(
    figure: Figure, image: AxesImage, beside: Sequence[Axes], text: str, width: float, *, below: bool
) -> None:
    """Put a colour bar beside panels of ``width`` inches, or below them; as wide for one as for many."""
    panels = list(beside)
    fraction = 0.12 / (len(panels) * width)
    place: dict[str, Any] = {"fraction": fraction, "aspect": 20, "pad": 0.02}
    if below:
        place = {"location": "bottom", "aspect": 14, "fraction": 0.03, "pad": 0.01}
    figure.colorbar(image, ax=panels, label=text, **place)


def index_ticks(axes: Axes, layers: int, heads: int, width: float) -> None:
    """Number layers and heads, as many as there is room for.

    Args:
        axes: the map's.
        layers: how many there are.
        heads: how many a layer has.
        width: of the map, in inches.
    """
    axes.set_yticks(range(0, layers, 1 + (layers - 1) // 8))
    axes.set_xticks(range(0, heads, 1 + (heads - 1) // max(2, int(width / 0.25))))
    axes.set_xlabel("head")
