"""What became of facts: from what the base knew to the verdict, as flows and as bars, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from interp.reports.figures import style
from interp.reports.figures.curves import count_span, draw_points
from interp.reports.figures.labels import drawable_labels
from interp.reports.figures.style import COLUMN, INK
from interp.reports.read.run import NotMeasured, require_columns
from interp.stats import Estimate, estimate, over_seeds, overlap_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from interp.verdicts.diagnosis import Diagnosis

COLOURS = {  # verdicts, from kept to never there
    "retained": "#0072B2",
    "right but generic": "#8DB9D8",
    "suppressed, intact": "#E69F00",
    "eroded": "#F2D08A",
    "erased": "#56606B",
    "learned": "#009E73",
    "never stored": "#B4B9BF",
    "undetermined": "#DDDFE3",
}
KNEW = {"base knew": "#0072B2", "knew in part": "#8DB9D8", "base did not know": "#B4B9BF"}
DARK = ("retained", "erased", "learned")  # bars that are read better in white
GAP = 0.025  # between bands, as a share of all facts
WIDTH = 0.05  # of the bars at both ends


def verdict_flows(
    source: Diagnosis | pd.DataFrame | Path | str, *, arms: Sequence[str] | None = None
) -> Figure:
    """Draw, for each arm, how facts flow from what the base knew to their verdicts.

    A band is as high as its share of all facts. On the right stand each verdict's share of an arm's facts and
    its 95% interval: bootstrapped over subjects, or over seeds where there are several.

    Args:
        source: a diagnosis, its table, or the directory of a run of stored_or_suppressed.
        arms: which to draw; all without it.

    Raises:
        InputError: the table lacks ``base_knew`` or ``verdict``, or an arm.
    """
    frame = require_columns(source, ("base_knew", "verdict", "subject"), arms)
    return _flows(frame)


def verdict_bars(
    source: Diagnosis | pd.DataFrame | Path | str, *, arms: Sequence[str] | None = None
) -> Figure:
    """Draw what became of the facts that the base knew, a bar an arm, the first share's interval below.

    Raises:
        NotMeasured: the base knew no fact.
        InputError: the table lacks ``base_knew`` or ``verdict``, or an arm.
    """
    frame = require_columns(source, ("base_knew", "verdict", "subject"), arms)
    return _bars(_require_known(frame))


def verdicts_by_popularity(source: pd.DataFrame | Path | str, *, arms: Sequence[str] | None = None) -> Figure:
    """Draw what became of the facts that the base knew by popularity, from the most popular quarter of facts.

    Raises:
        NotMeasured: the base knew no fact.
        InputError: the table lacks a column, or an arm.
    """
    frame = require_columns(source, ("base_knew", "verdict", "subject", "popularity"), arms)
    rank = frame.groupby(["seed", "arm"])["popularity"].rank(method="first", ascending=False, pct=True)
    frame = frame.assign(quarter=np.ceil(rank.astype(float) * 4))
    return _by_quarter(_require_known(frame))


def _require_known(frame: pd.DataFrame) -> pd.DataFrame:
    known = frame[frame["base_knew"] == 1]
    if not len(known):
        raise NotMeasured("What became of the facts that the base knew is left out: it knew none of them.")
    return known


def verdict_shares(frame: pd.DataFrame, wanted: Sequence[str]) -> dict[str, Estimate]:
    """Return each verdict's share of facts: over subjects, or over seeds where there are several."""
    made, overlap = {}, overlap_of(frame)
    for verdict in wanted:
        each = [
            estimate((rows["verdict"] == verdict).to_numpy(float), groups=rows["subject"].to_numpy())
            for _, rows in frame.groupby("seed", sort=False)
        ]
        made[verdict] = each[0] if len(each) == 1 else over_seeds(each, bounds=(0, 1), overlap=overlap)
    return made


@style.in_house_style
def _flows(frame: pd.DataFrame) -> Figure:
    arms = list(frame["arm"].unique())
    labels = drawable_labels(arms, 16)
    figure, grid = style.panels_of(len(arms), width=COLUMN, height=2.55)
    for axes, arm in zip(grid, arms, strict=True):
        rows = frame[frame["arm"] == arm]
        _flow(axes, rows)
        axes.set_title(f"{labels[arm]}, {_counts(rows)}" if arm else _counts(rows), loc="left", fontsize=7.5)
        axes.set_axis_off()
    return figure


def _flow(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw one arm: bars at both ends, and a band for every pair that occurs."""
    knew = np.where(rows["base_knew"] == 1, 0, np.where(rows["base_knew"] > 0, 1, 2))
    names, verdicts = np.array(list(KNEW))[knew], rows["verdict"].to_numpy()
    starts = [name for name in KNEW if (names == name).any()]
    ends = [name for name in COLOURS if (verdicts == name).any()]
    seeds = rows["seed"].to_numpy()

    def share(chosen: np.ndarray) -> float:
        # The mean of the seeds' shares, as the numbers beside the bars are, whatever each seed's n.
        return float(np.mean([chosen[seeds == seed].mean() for seed in np.unique(seeds)]))

    left = _stacked({name: share(names == name) for name in starts})
    right = _stacked({name: share(verdicts == name) for name in ends})
    found = verdict_shares(rows, ends)
    used = dict.fromkeys([*starts, *ends], 0.0)
    for start, end in product(starts, ends):
        if size := share((names == start) & (verdicts == end)):
            _band(axes, left[start][0] + used[start], right[end][0] + used[end], size, COLOURS[end])
            used[start], used[end] = used[start] + size, used[end] + size
    text: dict[str, Any] = {"fontsize": 6.5, "va": "center", "color": INK}
    for name, (low, high) in left.items():
        axes.barh((low + high) / 2, -WIDTH, height=high - low, color=KNEW[name])
        axes.text(-WIDTH - 0.02, (low + high) / 2, f"{name}\n{100 * (high - low):.0f}%", ha="right", **text)
    heights = _apart([(low + high) / 2 for low, high in right.values()], 0.085)
    for (name, (low, high)), y in zip(right.items(), heights, strict=True):
        axes.barh((low + high) / 2, WIDTH, left=1, height=high - low, color=COLOURS[name])
        axes.text(1 + WIDTH + 0.02, y, f"{name} {_written(found[name])}", ha="left", **text)
    axes.set_xlim(-0.74, 2.42)
    axes.set_ylim(1 + GAP * max(len(left), len(right)), -0.02)


def _stacked(sizes: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Lay bars out below one another, with gaps."""
    places, at = {}, 0.0
    for name, size in sizes.items():
        places[name] = (at, at + size)
        at += size + GAP
    return places


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Move labels downwards, then the last ones up again, so that none covers another."""
    placed: list[float] = []
    for y in heights:
        placed.append(max(y, placed[-1] + least) if placed else y)
    bottom = 1 + GAP * len(heights)
    return [min(y, bottom - least * (len(placed) - 1 - i)) for i, y in enumerate(placed)]


def _band(axes: Axes, left: float, right: float, size: float, colour: str) -> None:
    corners = [(0, left), (0.5, left), (0.5, right), (1, right)]
    back = [(1, right + size), (0.5, right + size), (0.5, left + size), (0, left + size)]
    codes = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3]
    axes.add_patch(PathPatch(Outline([*corners, *back], codes), facecolor=colour, alpha=0.55, linewidth=0))


@style.in_house_style
def _bars(known: pd.DataFrame) -> Figure:
    arms = {str(arm): rows for arm, rows in known.groupby("arm", sort=False)}
    figure = style.new_figure(COLUMN, 0.75 + 0.52 * len(arms))
    axes = figure.subplots()
    labels = drawable_labels(arms, 16)
    counts = {arm: f"n = {count_span(rows.groupby('seed').size())}" for arm, rows in arms.items()}
    names = [f"{labels[arm]}\n{told}" if arm else told for arm, told in counts.items()]
    _share_bars(axes, list(arms.values()), names, _present(known))
    style.legend_of(figure, axes, below=True, columns=2, handlelength=1)
    return figure


@style.in_house_style
def _by_quarter(known: pd.DataFrame) -> Figure:
    arms = {str(arm): rows for arm, rows in known.groupby("arm", sort=False)}
    labels = drawable_labels(arms, 16)
    figure, grid = style.panels_of(len(arms), width=COLUMN, height=1.75, extra=0.5, sharex=True)
    for axes, (arm, rows) in zip(grid, arms.items(), strict=True):
        quarters = {q: part for q in range(1, 5) if len(part := rows[rows["quarter"] == q])}
        names = [f"{q}, n = {count_span(part.groupby('seed').size())}" for q, part in quarters.items()]
        _share_bars(axes, list(quarters.values()), names, _present(known))
        axes.set_title(labels[arm], loc="left")
    columns = 4 if figure.get_figwidth() > 5 else 2
    style.legend_of(figure, grid[0], below=True, columns=columns, handlelength=1)
    return figure


def _present(known: pd.DataFrame) -> list[str]:
    return [name for name in COLOURS if (known["verdict"] == name).any()]


def _share_bars(
    axes: Axes, parts: Sequence[pd.DataFrame], names: Sequence[str], verdicts: Sequence[str]
) -> None:
    """Draw a stacked bar of verdicts for each part of the facts; below it its first share's interval."""
    for y, rows in enumerate(parts):
        found, at = verdict_shares(rows, verdicts), 0.0
        for name in verdicts:
            share = found[name].value or 0.0
            label = name if y == 0 else None
            axes.barh(y, 100 * share, left=100 * at, height=0.62, color=COLOURS[name], label=label)
            if share > 0.09:
                ink = "#ffffff" if name in DARK else "#111111"
                axes.text(
                    100 * (at + share / 2), y, f"{100 * share:.0f}", ha="center", va="center", color=ink
                )
            at += share
        first = found[verdicts[0]]
        if first.low is not None:
            # The first share's end is the only boundary that is one share's own.
            look: dict[str, Any] = {"color": INK, "capsize": 1.5, "linestyle": ""}
            draw_points(axes, [y + 0.38], [first], scale=100, across=True, **look)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("known facts (%); below each bar\nits first share's 95% interval")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _counts(rows: pd.DataFrame) -> str:
    """Say of how many facts a panel is, and of how many seeds where there are several."""
    counts = rows.groupby("seed").size()
    seeds = f", {len(counts)} seeds" if len(counts) > 1 else ""
    facts = "fact" if counts.max() == 1 else "facts"
    return f"n = {count_span(counts)} {facts}{seeds}"


def _written(share: Estimate) -> str:
    if share.value is None:
        return ""
    bounds = (
        ""
        if share.low is None or share.high is None
        else f" ({100 * share.low:.0f} to {100 * share.high:.0f})"
    )
    return f"{100 * share.value:.0f}%{bounds}"
