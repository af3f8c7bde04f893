"""One house style for every figure: colours that colour-blind readers can tell apart, 8 pt type, no frame.

Figures are built without pyplot, so no global state changes and no window opens. ``in_house_style`` runs a
drawing function inside the style and lays it out once there, since matplotlib reads some settings only then.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from finetune.common.files import atomic_file
from interp.reports.figures.svg import INK as INK
from interp.reports.figures.svg import MUTED as MUTED
from interp.reports.figures.svg import inline_markup
from interp.reports.read.fact_attention import BASE
from interp.reports.read.run import Run, as_run

P = ParamSpec("P")

PAGE, COLUMN = 7.0, 3.35  # inches: across a page, and in one column of a paper
_ROOM: ContextVar[float] = ContextVar("room", default=PAGE)

BASE_COLOUR = "#7a7f87"
# Okabe & Ito (2008), without the yellow and black that vanish on a light or dark page.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
ARM_COLOURS = {"top": "#0072B2", "bottom": "#D55E00", "random": "#E69F00", "whole": "#009E73"}
MARKERS = ("o", "s", "^", "D", "v", "P")
SEQUENTIAL, DIVERGING = "Blues", "PuOr_r"
SUBJECT = "#b83c8a"  # the subject's tokens: no arm's colour

# Text of an SVG stays text, searchable and in a font that has its script; equal data gives equal files.
SHEET = Path(__file__).parents[1] / "templates" / "house.mplstyle"
HOUSE: dict[str, Any] = dict(matplotlib.rc_params_from_file(SHEET, use_default_template=False).items())


@contextmanager
def drawn_within(inches: float) -> Iterator[None]:
    """Lay figures out for a width, ``PAGE`` without this: type keeps its size, panels stand below others.

    with drawn_within(COLUMN):
        figures.contrasts("runs/demo")
    """
    token = _ROOM.set(inches)
    try:
        yield
    finally:
        _ROOM.reset(token)


def room() -> float:
    """Return how many inches a figure may be wide."""
    return _ROOM.get()


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the house style on top of matplotlib's defaults, whatever the user has set."""
    with matplotlib.style.context(["default", HOUSE]), warnings.catch_warnings():
        # Names may use a script that the PNG's font lacks; the SVG shows them all the same.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def in_house_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a drawing function draw in the house style, and lay its figure out once."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with house_style():
            figure = draw(*args, **kwargs)
            if (engine := figure.get_layout_engine()) is not None:
                engine.execute(figure)  # without drawing, which each file does anyway
            figure.set_layout_engine(None)  # laid out now: each file would lay it out again
        return figure

    return drawn


def draw_from_run(
    draw: Callable[Concatenate[Run, P], Figure],
) -> Callable[Concatenate[Run | Path | str, P], Figure]:
    """Let a drawing function take a run or its directory, and draw in the house style."""

    in_style = in_house_style(draw)

    @functools.wraps(draw)
    def drawn(run: Run | Path | str, *args: P.args, **kwargs: P.kwargs) -> Figure:
        return in_style(as_run(run), *args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, in inches, that lays itself out."""

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels_of(
    count: int, *, width: float, height: float, extra: float = 0.0, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels, as many in a row as there is room for.

    Args:
        count: how many panels.
        width: about that of a panel, in inches.
        height: of a panel, in inches.
        extra: inches below all of them, for a legend.
        shared: what matplotlib's ``subplots`` takes, such as ``sharey``.
    """
    columns = max(1, min(count, int(room() / width + 1e-6)))
    rows = -(-count // columns)
    figure = new_figure(min(room(), columns * width), rows * height + extra)
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flatten())
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, axes[:count]


def leftmost(axes: Axes) -> bool:
    """Say whether a panel stands in its figure's first column."""
    place = axes.get_subplotspec()
    return place is not None and place.is_first_col()


def rule_axes(axes: Axes, axis: Literal["x", "y"]) -> None:
    """Rule lines across a panel, behind what is drawn."""
    axes.grid(axis=axis)
    axes.set_axisbelow(True)


def mark_line(axes: Axes, at: float, told: str, *, upright: bool = True) -> None:
    """Draw a reference line behind the data, and say at its end what it marks.

    Args:
        axes: where to draw.
        at: the value.
        told: what it marks.
        upright: whether it is a value of x.
    """
    words: dict[str, Any] = {"textcoords": "offset points", "color": INK, "fontsize": "x-small"}
    if upright:
        axes.axvline(at, color=MUTED, linewidth=0.8, zorder=0)
        over = axes.get_xaxis_transform()
        axes.annotate(told, (at, 1), xycoords=over, xytext=(0, 2), ha="center", va="bottom", **words)
    else:
        axes.axhline(at, color=MUTED, linewidth=0.8, zorder=0)
        beside = axes.get_yaxis_transform()
        axes.annotate(told, (1, at), xycoords=beside, xytext=(-2, 1), ha="right", va="bottom", **words)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows of a panel from the top, without an axis beside them."""
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_yticks(range(len(names)), names)


def legend_of(figure: Figure, axes: Axes, *, below: bool, columns: int = 3, **style: Any) -> None:
    """Put the legend beside a panel, or below the figure.

    Args:
        figure: the panel's.
        axes: the panel.
        below: put it below, where the figure is narrow.
        columns: of a legend below.
        style: what matplotlib's ``legend`` takes.
    """
    if below:
        handles = axes.get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=columns, **style)
    else:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.7, **style)


def shared_legend(figure: Figure, grid: Iterable[Axes], labels: Sequence[str], *, columns: int) -> None:
    """Put one legend below panels that share their series; none where there is but one.

    Args:
        figure: the panels'.
        grid: the panels.
        labels: the series.
        columns: of the legend, at most.
    """
    if len(labels) > 1:
        drawn = {str(h.get_label()): h for axes in grid for h in axes.get_legend_handles_labels()[0]}
        handles, columns = list(drawn.values()), min(columns, len(labels))
        figure.legend(handles, list(drawn), loc="outside lower center", ncols=columns, frameon=False)


LINES = ("-", "-.", ":")  # a further one where colours and markers begin anew


def arm_style(arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give every arm a colour, a marker and a line of its own; the base is dashed grey."""
    free = [c for c in OKABE_ITO if c not in {ARM_COLOURS.get(arm) for arm in arms}]
    styles: dict[str, dict[str, Any]] = {}
    others = 0
    for i, arm in enumerate(arm for arm in arms if arm != BASE):
        colour = ARM_COLOURS.get(arm)
        if colour is None:
            colour, others = free[others % len(free)], others + 1
        line = LINES[i // len(MARKERS) % len(LINES)]
        styles[arm] = {"color": colour, "marker": MARKERS[i % len(MARKERS)], "linestyle": line}
    if BASE in arms:
        styles[BASE] = {"color": BASE_COLOUR, "marker": "x", "linestyle": "--"}
    return styles


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure as ``stem.svg`` and ``stem.png``, each atomically."""
    paths = stem.with_suffix(".svg"), stem.with_suffix(".png")
    for path, metadata in zip(paths, ({"Date": None}, {"Software": None}), strict=True):
        with house_style(), atomic_file(path) as temporary:
            figure.savefig(temporary, metadata=metadata)
    return paths


def small_png(figure: Figure, *, dpi: int, colours: int = 256) -> bytes:
    """Render a figure as a PNG file's bytes with few colours: a third of the size, for notebooks."""
    buffer, small = io.BytesIO(), io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    Image.open(buffer).convert("RGB").quantize(colours).save(small, format="png", optimize=True)
    return small.getvalue()


def inline_svg(figure: Figure, prefix: str) -> str:
    """Render a figure as an SVG element for a page: transparent, in the page's own ink, ids made unique."""
    buffer = io.StringIO()
    with house_style():
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    return inline_markup(buffer.getvalue(), prefix, label=prefix)
