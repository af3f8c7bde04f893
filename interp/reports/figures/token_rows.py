"""Rows of tokens as a picture: what each model gives to each token, the subject marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy import ndarray

from interp.reports.figures import style
from interp.reports.figures.labels import drawable_label, drawable_labels
from interp.reports.figures.style import INK, MUTED, SUBJECT
from interp.reports.read.fact_attention import FactAttention

MOST_TOKENS = 48
MOST_STRIP_TOKENS = 16  # the last ones are kept: there the question ends
Tables = Mapping[str, Mapping[str, Float[ndarray, " token"]]]


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


@style.in_house_style
def attention_strips(strips: Sequence[Strip]) -> Figure:
    """Draw facts below one another, a row a model; the subject's tokens are coloured, weights in percent."""
    width = max(min(len(strip.tokens), MOST_STRIP_TOKENS) for strip in strips)
    rows = max(len(strip.rows) for strip in strips)
    figure = style.new_figure(width=1.1 + 0.5 * width, height=0.2 + len(strips) * (0.55 + 0.22 * rows))
    grid = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    for axes, strip in zip(grid, strips, strict=True):
        kept = range(max(0, len(strip.tokens) - MOST_STRIP_TOKENS), len(strip.tokens))
        table = np.stack(list(strip.rows.values()))[:, kept]
        axes.imshow(table, cmap=style.SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        for (row, column), weight in np.ndenumerate(table):
            if weight >= 0.005:
                look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6.5}
                look["color"] = "white" if weight > 0.6 else "black"
                axes.text(column, row, f"{100 * weight:.0f}", **look)
        labels = drawable_labels(strip.rows, 16)
        axes.set_yticks(range(len(strip.rows)), [labels[name] for name in strip.rows])
        names, flags = [drawable_label(strip.tokens[i], 10) for i in kept], strip.subject[kept].tolist()
        _token_ticks(axes, names, flags, MUTED, 6.5)
        axes.set_xlim(-0.5, width - 0.5)  # one scale for all: a token is as wide in every strip
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(strip.title, loc="left")
    return figure


def fact_rows(fact: FactAttention, names: Sequence[str] | None = None) -> Figure:
    """Draw one fact's attention from the last token, head by head, the models of a head under each other.

    Heads stand in order of how much the subject's share changed; the number on the right is that share.
    """
    names = list(names or fact.patterns)
    panels = {
        f"L{layer}\nH{head}": {name: fact.patterns[name][i, -1] for name in names}
        for i, (layer, head) in enumerate(fact.heads)
    }
    shares = [[fact.mass[name][at] for name in names] for at in fact.heads]
    return token_rows(
        panels, fact.tokens, fact.subject_tokens, what="attention", shares=shares, share="subject\nshare"
    )


@style.in_house_style
def token_rows(
    panels: Tables,
    tokens: Sequence[str],
    subject: Sequence[bool],
    *,
    what: str,
    shares: Sequence[Sequence[float]] = (),
    share: str = "",
) -> Figure:
    """Draw panels below one another, a row a model, a column a token, on one colour scale.

    Args:
        panels: by panel and model the values of all tokens; below zero anywhere, colours diverge from 0.
        tokens: their texts.
        subject: which are the subject's; in a long prompt these and the last ones are kept.
        what: what the values are.
        shares: a number for the right of every row.
        share: what that number is.
    """
    kept = select_tokens(subject)
    names = list(next(iter(panels.values())))
    tables = [np.stack([rows[name][kept] for name in names]) for rows in panels.values()]
    most = max(float(np.abs(table).max()) for table in tables) or 1.0
    signed = any(bool((table < 0).any()) for table in tables)
    scale: dict[str, Any] = {"cmap": style.DIVERGING if signed else style.SEQUENTIAL, "vmin": -most * signed}
    figure = style.new_figure(min(7.0, style.room()), 1.15 + len(tables) * (0.155 * len(names) + 0.07))
    grid = figure.subplots(len(tables), 1, sharex=True, squeeze=False)[:, 0]
    styles, labels = style.arm_style(names), drawable_labels(names, 12)
    flags = [subject[i] for i in kept]
    for k, (axes, title, table) in enumerate(zip(grid, panels, tables, strict=True)):
        image = axes.imshow(table, aspect="auto", interpolation="none", vmax=most, **scale)
        axes.set_yticks(range(len(names)), [labels[name] for name in names], fontsize=6)
        axes.set_ylabel(title, rotation=0, ha="right", va="center", weight="bold", labelpad=6)
        for label, name in zip(axes.get_yticklabels(), names, strict=True):
            label.set_color(styles[name]["color"])
        for y, number in enumerate(shares[k] if len(shares) else ()):
            _beside(axes, f"{number:.2f}", (1, y), ("axes fraction", "data"), va="center", fontsize=6.5)
        _frame(axes, flags, len(names))
    shown = [drawable_label(tokens[i], 12) for i in kept]
    width = 0.7 * min(7.0, style.room()) / len(kept)  # inches a token; a letter takes about 0.06
    upright = all(0.03 * (len(a) + len(b)) < width for a, b in pairwise([*shown, ""]))
    size = 7 if len(kept) <= 30 else 5.5
    _token_ticks(grid[-1], shown, flags, INK, size, rotation=0 if upright else 90)
    if share:
        _beside(grid[0], share, (1, 1), "axes fraction", va="bottom", fontsize=6, color=MUTED)
    bar: dict[str, Any] = {"shrink": 0.5, "anchor": (0, 1), "aspect": 18, "pad": 0.07 if share else 0.02}
    figure.colorbar(image, ax=list(grid), label=what, **bar)
    return figure


def select_tokens(subject: Sequence[bool]) -> list[int]:
    """Choose the tokens to draw: all, or in a long prompt the last ones and the whole subject."""
    length = len(subject)
    if length <= MOST_TOKENS:
        return list(range(length))
    marked = [i for i, flag in enumerate(subject) if flag][: MOST_TOKENS // 2]
    return sorted({*marked, *range(max(0, length - (MOST_TOKENS - len(marked))), length)})


def _beside(axes: Axes, text: str, at: tuple[float, float], coordinates: Any, **look: Any) -> None:
    axes.annotate(text, at, (4, 3 if look["va"] == "bottom" else 0), coordinates, "offset points", **look)


def _frame(axes: Axes, flags: Sequence[bool], rows: int) -> None:
    """Take a panel's axes away, and draw a box around each run of subject tokens."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(flags) - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    edges = np.flatnonzero(np.diff([0, *map(int, flags), 0]))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        box = Rectangle((start - 0.5, -0.5), end - start, rows, fill=False, edgecolor=SUBJECT, linewidth=1.4)
        box.set_clip_on(False)
        axes.add_patch(box)


def _token_ticks(
    axes: Axes, names: Sequence[str], subject: Sequence[bool], ink: str, size: float, *, rotation: float = 0
) -> None:
    """Name tokens below a panel, the subject's in its colour and bold, the others in ``ink``."""
    axes.set_xticks(range(len(names)), names, fontsize=size, rotation=rotation)
    for tick, marked in zip(axes.get_xticklabels(), subject, strict=True):
        tick.set_color(SUBJECT if marked else ink)
        tick.set_fontweight("bold" if marked else "normal")
