"""A number a head as a table of coloured cells: layers by heads, or facts by heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy import ndarray

from finetune.common.errors import InputError
from interp.reports.figures import style
from interp.reports.figures.labels import drawable_label, drawable_labels
from interp.reports.views.view import View

MOST_NUMBERED = 16  # columns; of more, numbers are on pointing only


@dataclass(frozen=True)
class ColourScale:
    """What a colour means: the value of the strongest one, and whether colours diverge from zero."""

    most: float
    signed: bool


@dataclass(frozen=True)
class HeadGrid(View):
    """Tables of [row column] by name; NaN was not measured.

    Tables with a value below zero have colours that diverge from zero, and share one scale; so do the others.
    """

    values: Mapping[str, Float[ndarray, "row column"]]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    what: str
    n: int | None = None
    title: str = ""
    template: ClassVar[str] = "view_grid.html.j2"
    scripted: ClassVar[bool] = False

    def scale(self, name: str) -> ColourScale:
        """Return the colour scale of a table."""
        signed = bool((self.values[name] < 0).any())
        alike = [table for table in self.values.values() if bool((table < 0).any()) == signed]
        sizes = [np.nanmax(np.abs(table)) for table in alike if not np.isnan(table).all()]
        return ColourScale(most=float(max(sizes, default=0)) or 1.0, signed=signed)

    @property
    def static(self) -> Figure:
        """The tables beside each other."""
        return _grid_figure(self)

    @property
    def alternative(self) -> str:
        """What the picture shows, in a sentence."""
        names = " and ".join(name for name in self.values if name)
        return f"{self.what}, {len(self.rows)} by {len(self.columns)}{': ' * bool(names)}{names}."

    @property
    def height(self) -> int:
        """How many pixels the frame is high."""
        wide = 60 + len(self.columns) * (36 if len(self.columns) <= MOST_NUMBERED else 22)
        beside = max(1, 900 // wide)
        lines = -(-len(self.values) // beside)
        return 70 + (36 if self.title else 0) + lines * (60 + 25 * len(self.rows))

    def fill(self) -> Mapping[str, Any]:
        """Return the template's values."""
        return {"numbered": len(self.columns) <= MOST_NUMBERED}


def head_grid(
    values: Mapping[str, Float[ndarray, "row column"]] | Float[ndarray, "row column"],
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    what: str = "",
    n: int | None = None,
    title: str = "",
) -> HeadGrid:
    """Show a number a head.

    Args:
        values: [layer head], or with other rows such as facts; by name where there are several.
        rows: the rows' names; ``L0`` and so on without them.
        columns: the columns' names; ``H0`` and so on without them.
        what: what the numbers are; stands below them.
        n: how many facts they are of.
        title: of the figure.

    Raises:
        InputError: the shapes do not belong together, or a value is infinite.
    """
    given = values if isinstance(values, Mapping) else {"": values}
    tables = {name: np.asarray(table, dtype=float) for name, table in given.items()}
    shapes = {table.shape for table in tables.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise InputError(f"grids of shapes {sorted(shapes)}; give tables of one shape, [layer head]")
    if any(np.isinf(table).any() for table in tables.values()):
        raise InputError(
            "some values are infinite, so they have no colour; give NaN for what is not measured"
        )
    height, width = next(iter(shapes))
    rows = tuple(rows) or tuple(f"L{i}" for i in range(height))
    columns = tuple(columns) or tuple(f"H{i}" for i in range(width))
    if (len(rows), len(columns)) != (height, width):
        raise InputError(
            f"names of {len(rows)} rows and {len(columns)} columns for a grid of {(height, width)}; give one "
            "for each, or leave them out"
        )
    shown = tuple(drawable_label(row, 40) for row in rows)
    return HeadGrid(values=tables, rows=shown, columns=columns, what=what, n=n, title=title)


def fact_grid(
    values: Float[ndarray, "fact layer head"],
    facts: Sequence[str],
    *,
    most_facts: int = 20,
    most_heads: int = MOST_NUMBERED,
    what: str = "",
    title: str = "",
) -> HeadGrid:
    """Show a number a fact and head: facts below one another, heads beside, the largest first in both.

    Heads are ordered by their mean's size over all facts, facts by their mean's size over all heads; a row
    for the mean of all facts stands above.

    Args:
        values: such as a change, ``imbalance(...).values``, to see whose attention moved where.
        facts: their names.
        most_facts: how many are shown.
        most_heads: how many are shown.
        what: what the numbers are; stands below them.
        title: of the figure.

    Raises:
        InputError: there is not one name for each fact, or there are none.
    """
    table = np.asarray(values, dtype=float)
    if table.ndim != 3 or not len(table) or len(facts) != len(table):
        raise InputError(
            f"values of shape {table.shape} for {len(facts)} facts; give [fact layer head], and a name a fact"
        )
    flat = table.reshape(len(table), -1)
    # Over what was measured; NaN where nothing was.
    means = [np.ma.masked_invalid(flat).mean(axis).filled(np.nan) for axis in (0, 1)]
    heads, chosen = (np.argsort(-np.abs(mean).round(6), kind="stable") for mean in means)
    heads, chosen = heads[:most_heads], chosen[:most_facts]
    measured = int((~np.isnan(flat)).any(1).sum())
    return head_grid(
        np.vstack([means[0][heads], flat[chosen][:, heads]]),
        rows=(f"mean of {measured:,} facts", *(facts[i] for i in chosen)),
        columns=[f"L{i // table.shape[2]}H{i % table.shape[2]}" for i in heads.tolist()],
        what=what,
        title=title,
    )


@style.in_house_style
def _grid_figure(view: HeadGrid) -> Figure:
    rows, columns = len(view.rows), len(view.columns)
    names = 0.06 * max(map(len, view.rows))
    wide = names + 0.35 + min(0.3, 2.6 / columns) * columns
    beside = max(1, min(len(view.values), int(6.6 // wide)))
    lines = -(-len(view.values) // beside)
    height = 0.7 + min(0.3, 6 / rows) * rows
    figure = style.new_figure(min(7.0, max(2.4, 0.8 + wide * beside)), lines * height)
    grid = list(figure.subplots(lines, beside, squeeze=False).flatten())
    labels = drawable_labels(view.values, 24)
    drawn: dict[ColourScale, ScalarMappable] = {}
    across, down = 1 + (columns - 1) // 16, 1 + (rows - 1) // 40  # names stand at every so many
    for axes, (name, table) in zip(grid, view.values.items(), strict=False):
        scale = view.scale(name)
        low, colours = (-scale.most, style.DIVERGING) if scale.signed else (0, style.SEQUENTIAL)
        drawn[scale] = axes.imshow(
            table, aspect="auto", interpolation="none", cmap=colours, vmin=low, vmax=scale.most
        )
        axes.set_title(labels[name] if name else "")
        axes.set_xticks(range(0, columns, across), view.columns[::across], fontsize=6)
        axes.tick_params(length=0, axis="both", which="both")
        axes.tick_params(axis="x", labelrotation=90 if max(map(len, view.columns)) > 3 else 0)
        axes.set_yticks(range(0, rows, down), view.rows[::down], fontsize=6)
        axes.spines[:].set_visible(False)
    for axes in grid[len(view.values) :]:
        axes.set_axis_off()
    for image in drawn.values():
        figure.colorbar(image, ax=grid, aspect=16, fraction=0.05, pad=0.02)
    figure.supxlabel(view.what + (f" (n = {view.n:,})" if view.n else ""), fontsize=8)
    return figure
