"""Rows of tokens as a picture: what each model gives to each token, head by head, the subject boxed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from matplotlib.patches import Rectangle
from numpy import ndarray

from interp.reports.figures.style import (
    DIVERGING,
    INK,
    MUTED,
    SEQUENTIAL,
    SUBJECT,
    arm_style,
    drawable_label,
    in_house_style,
    new_figure,
    room,
)
from interp.reports.read.fact_attention import FactAttention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TOKENS = 48
Tables = Mapping[str, Mapping[str, Float[ndarray, " token"]]]


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


@in_house_style
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
    scale: dict[str, Any] = {
        "cmap": DIVERGING if signed else SEQUENTIAL,
        "vmin": -most * signed,
        "vmax": most,
    }
    figure = new_figure(min(7.0, room()), 1.15 + len(tables) * (0.155 * len(names) + 0.07))
    grid = figure.subplots(len(tables), 1, sharex=True, squeeze=False)[:, 0]
    styles = arm_style(names)
    for k, (axes, title, table) in enumerate(zip(grid, panels, tables, strict=True)):
        image = axes.imshow(table, aspect="auto", interpolation="none", **scale)
        axes.set_yticks(range(len(names)), [drawable_label(name, 12) for name in names], fontsize=6)
        axes.set_ylabel(title, rotation=0, ha="right", va="center", weight="bold", labelpad=6)
        for y, name in enumerate(names):
            axes.get_yticklabels()[y].set_color(styles[name]["color"])
        for y, number in enumerate(shares[k] if len(shares) else ()):
            _beside(axes, f"{number:.2f}", (1, y), ("axes fraction", "data"), va="center", fontsize=6.5)
        _frame(axes, len(names), len(kept))
        _box_subject(axes, [subject[i] for i in kept], len(names))
    _token_ticks(grid[-1], tokens, subject, kept)
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


def _beside(axes: Axes, text: str, at: tuple[float, float], coordinates: Any, **style: Any) -> None:
    axes.annotate(text, at, (4, 3 if style["va"] == "bottom" else 0), coordinates, "offset points", **style)


def _frame(axes: Axes, rows: int, columns: int) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def _box_subject(axes: Axes, flags: Sequence[bool], rows: int) -> None:
    """Draw a box around each run of subject tokens."""
    edges = np.flatnonzero(np.diff([0, *map(int, flags), 0]))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        box = Rectangle((start - 0.5, -0.5), end - start, rows, fill=False, edgecolor=SUBJECT, linewidth=1.4)
        box.set_clip_on(False)
        axes.add_patch(box)


def _token_ticks(axes: Axes, tokens: Sequence[str], subject: Sequence[bool], kept: Sequence[int]) -> None:
    names = [drawable_label(tokens[i], 12) for i in kept]
    size = 7 if len(kept) <= 30 else 5.5
    width = 0.7 * min(7.0, room()) / len(kept)  # inches a token; a letter takes about 0.06
    upright = all(0.03 * (len(a) + len(b)) < width for a, b in pairwise([*names, ""]))
    axes.set_xticks(range(len(kept)), names, fontsize=size, rotation=0 if upright else 90)
    for tick, i in zip(axes.get_xticklabels(), kept, strict=True):
        tick.set_color(SUBJECT if subject[i] else INK)
        tick.set_fontweight("bold" if subject[i] else "normal")
