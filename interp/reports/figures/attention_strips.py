"""What the last token looks at, as one strip of tokens a model: facts before and after, for many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from interp.reports.figures.style import (
    MUTED,
    SEQUENTIAL,
    SUBJECT,
    drawable_label,
    in_house_style,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy import ndarray

LONGEST_TOKEN = 10
MOST_TOKENS = 16  # the last ones are kept: there the question ends


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One fact: its tokens, which are the subject's, and each model's attention of the last token to them."""

    title: str
    tokens: Sequence[str]
    subject: Bool[ndarray, " token"]
    rows: Mapping[str, Float[ndarray, " token"]]

    def __post_init__(self) -> None:
        for name, row in self.rows.items():
            if not len(self.tokens) == len(self.subject) == len(row):
                raise ValueError(
                    f"strip {self.title!r}: {name} has {len(row)} weights for {len(self.tokens)} tokens, "
                    f"{len(self.subject)} of them marked"
                )


@in_house_style
def attention_strips(strips: Sequence[Strip]) -> Figure:
    """Draw facts below one another, a row a model; the subject's tokens are coloured, weights in percent."""
    width = max(min(len(strip.tokens), MOST_TOKENS) for strip in strips)
    rows = max(len(strip.rows) for strip in strips)
    figure = new_figure(width=1.1 + 0.5 * width, height=0.2 + len(strips) * (0.55 + 0.22 * rows))
    grid = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    for axes, strip in zip(grid, strips, strict=True):
        _draw(axes, strip, width)
    return figure


def _draw(axes: Axes, strip: Strip, width: int) -> None:
    kept = slice(max(0, len(strip.tokens) - MOST_TOKENS), None)
    table = np.stack(list(strip.rows.values()))[:, kept]
    axes.imshow(table, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for (row, column), weight in np.ndenumerate(table):
        if weight >= 0.005:
            ink = "white" if weight > 0.6 else "black"
            axes.text(column, row, f"{100 * weight:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
    axes.set_yticks(range(len(strip.rows)), list(strip.rows))
    tokens = [drawable_label(token, LONGEST_TOKEN) for token in strip.tokens[kept]]
    axes.set_xticks(range(len(tokens)), tokens, fontsize=6.5)
    for tick, marked in zip(axes.get_xticklabels(), strip.subject[kept], strict=True):
        tick.set_color(SUBJECT if marked else MUTED)
        tick.set_fontweight("bold" if marked else "normal")
    axes.set_xlim(-0.5, width - 0.5)  # one scale for all: a token is as wide in every strip
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(strip.title, loc="left")
