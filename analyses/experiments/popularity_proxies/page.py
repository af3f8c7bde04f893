"""The page of how far proxies agree: a heat map of every pair, and the pairs in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.experiments.popularity_proxies.proxies import PLACEBO, PROXIES
from interp.reports.figures.curves import counted
from interp.reports.figures.style import DIVERGING, INK, MUTED, in_house_style, new_figure
from interp.reports.pages.results_tables import Column, results_table, write_number
from interp.reports.pages.study import Study, StudyFigure, StudyTable
from interp.reports.read.results import Number, Results

_PANELS = (
    ("spearman", "Rank correlation, all facts", 0.0, 1.0),
    ("within_relation", "Rank correlation, within relations", 0.0, 1.0),
    ("top_half", "Share of the top half in common (%)", 0.5, 0.5),
)


def study(results: Results, *, facts: str) -> Study:
    """Say how far proxies agree, with the heat map and the table."""
    first, second, number = strongest(results)
    finding = (
        f"Of {len(names_of(results)) - 1} proxies, {proxy_label(first)} and {proxy_label(second)} "
        f"agree most: rank correlation {write_number(number, '+2')}, "
        f"n = {number['n']:,}."
        if number["value"] is not None
        else "No two proxies could be compared."
    )
    caption = (
        "Every pair of proxies; bold where the 95% interval leaves out what chance gives (0, or 50%). "
        "The shuffled proxy is the placebo; one number in twenty is bold by chance."
    )
    return Study(
        title="Proxies for popularity",
        question=f"Which stand-ins for popularity agree with each other, on {facts}?",
        finding=finding,
        outcome="measured",
        tables=(table(results), _glossary(names_of(results))),
        figures=(StudyFigure(name="agreement", figure=heatmap(results), caption=caption),),
        notes=(
            "Intervals are a bootstrap over subjects. Within relations, a fact's rank is taken among its "
            "relation's facts.",
            "Halves are taken as popularity splits take them; where proxies tie at the cut, a draw decides, "
            "and the share is the expected one.",
        ),
    )


def names_of(results: Results) -> list[str]:
    """Return the proxies that were compared, in their order."""
    return list(dict.fromkeys(name for pair in pairs_of(results) for name in pair))


def pairs_of(results: Results) -> dict[tuple[str, str], Number]:
    """Return every pair of proxies with its rank correlation."""
    rows = results.below("spearman")
    return {(a, b): number for a, row in rows.items() for (b,), number in row.numbers.items()}


def strongest(results: Results) -> tuple[str, str, Number]:
    """Return the pair with the largest rank correlation, the placebo left out."""
    pairs = [(a, b, number) for (a, b), number in pairs_of(results).items() if b != PLACEBO]
    return max(pairs, key=lambda pair: -2.0 if pair[2]["value"] is None else pair[2]["value"])


def proxy_label(name: str) -> str:
    """Write a proxy's name."""
    return name.replace("_", " ")


def table(results: Results) -> StudyTable:
    """Lay every pair out, a row each."""
    by_pair: dict[tuple[str, str], dict[tuple[str, ...], Number]] = {pair: {} for pair in pairs_of(results)}
    for (kind, *pair), number in results.numbers.items():
        by_pair[pair[0], pair[1]][(kind,)] = number
    columns: dict[str, Column] = {
        "Rank correlation": ("spearman", "+2"),
        "within relations": ("within_relation", "+2"),
        "Top half in common (chance: 50%)": ("top_half", "%"),
        "Facts": lambda part: part.at("spearman")["n"],
    }
    return results_table(
        "How far proxies agree",
        ("Proxy", "and"),
        {(proxy_label(a), proxy_label(b)): Results(part) for (a, b), part in by_pair.items()},
        columns,
        note="Shuffled: the first proxy dealt out among the subjects anew, the placebo.",
    )


def _glossary(names: Sequence[str]) -> StudyTable:
    rows = tuple((proxy_label(name), PROXIES[name].what) for name in names if name in PROXIES)
    return StudyTable(title="What each proxy is", columns=("Proxy", "What it measures"), rows=rows)


@in_house_style
def heatmap(results: Results) -> Figure:
    """Draw every pair: rank correlations, of all facts and within relations, and the halves in common.

    Bold numbers are those whose 95% interval leaves out what chance gives.
    """
    names = names_of(results)
    side = 1.0 + 0.27 * len(names)
    figure = new_figure(max(7.0, 1.1 + 3 * (side - 0.6)), side + 0.75)
    grid = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (kind, title, chance, reach) in zip(grid, _PANELS, strict=True):
        _panel(axes, results.part(kind), names, chance, reach, percent=kind == "top_half")
        axes.set_title(title)
    n = counted((number["n"] for number in pairs_of(results).values()), "facts a pair")
    grid[0].annotate(n, (1, 1), (0, -4), "axes fraction", "offset points", ha="right", va="top")
    return figure


def _panel(
    axes: Axes,
    pairs: Results,
    names: Sequence[str],
    chance: float,
    reach: float,
    *,
    percent: bool,
) -> None:
    """Draw one measure of all pairs below the diagonal, chance in the colour scale's middle."""
    rows, columns = names[1:], names[:-1]
    values = np.full((len(rows), len(columns)), np.nan)
    for (a, b), number in pairs.numbers.items():
        values[rows.index(b), columns.index(a)] = np.nan if number["value"] is None else number["value"]
    image = axes.imshow(values, cmap=DIVERGING, vmin=chance - reach, vmax=chance + reach, aspect="auto")
    for (a, b), number in pairs.numbers.items():
        _write(axes, image, columns.index(a), rows.index(b), number, chance, percent=percent)
    axes.set_xticks(range(len(columns)), [proxy_label(name) for name in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [proxy_label(name) for name in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _write(axes: Axes, image: Any, x: int, y: int, number: Number, chance: float, *, percent: bool) -> None:
    """Write a pair's number into its cell, readable on the cell's colour."""
    value, low, high = number["value"], number["low"], number["high"]
    if value is None:
        axes.text(x, y, "–", ha="center", va="center", fontsize=6, color=MUTED)
        return
    text = (
        f"{100 * value:.0f}"
        if percent
        else f"{round(value, 2) + 0.0:+.2f}".replace("-", "−").replace("0.", ".", 1)
    )
    red, green, blue, _ = image.cmap(image.norm(value))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
    apart = low is not None and (low > chance or high < chance)
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=5.5,
        weight="bold" if apart else "normal",
        color="#ffffff" if dark else INK,
    )
