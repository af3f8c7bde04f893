"""What an intervention in one head does, by layer and head, with its placebo beside it on one scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from finetune.common.errors import InputError
from interp.reports.figures import style
from interp.reports.figures.heatmaps import draw_map, index_ticks
from interp.reports.figures.labels import drawable_labels
from interp.reports.read.run import read_parquet
from interp.stats import estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from interp.patching.scoring import PatchResult

Map = Float[ndarray, "layer head"]
UNIT = "gain in log p(answer), nats"


@dataclass(frozen=True, kw_only=True)
class HeadEffects:
    """The mean effect of every head (nats) and its 95% interval, over ``n`` facts; NaN was not measured."""

    mean: Map
    low: Map
    high: Map
    n: int

    @property
    def settled(self) -> Bool[ndarray, "layer head"]:
        """Mark the heads whose interval excludes zero."""
        return (self.low > 0) | (self.high < 0)

    @classmethod
    def of(cls, result: PatchResult, groups: Sequence[Hashable] | None = None) -> Self:
        """Average a sweep over layers and heads, bootstrapped over ``groups`` (the facts' subjects).

        Raises:
            InputError: the cells are not layers by heads.
        """
        if tuple(result.labels) != ("layer", "head"):
            raise InputError(
                f"cells along {', '.join(result.labels)}; give patch() a sweep over layer and head"
            )
        subjects = None if groups is None else np.array([str(group) for group in groups])
        cells = [estimate(row, groups=subjects, share=False) for row in result.effect.double().numpy()]
        bounds = np.array([[cell.value, cell.low, cell.high] for cell in cells], dtype=float)
        mean, low, high = bounds.T.reshape(3, *result.shape)
        return cls(mean=mean, low=low, high=high, n=max(cell.n for cell in cells))

    @classmethod
    def of_table(cls, rows: pd.DataFrame, names: tuple[str, str, str], count: str = "n") -> Self:
        """Take means, bounds and counts from the columns named of a table with ``layer`` and ``head``."""
        filled = np.full((3, int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1), np.nan)
        filled[:, rows["layer"].to_numpy(int), rows["head"].to_numpy(int)] = (
            rows[list(names)].to_numpy(float).T
        )
        mean, low, high = filled
        return cls(mean=mean, low=low, high=high, n=int(rows[count].max()))


Panels = Mapping[str, tuple[HeadEffects, HeadEffects | None]]


def recovery_grid(
    source: PatchResult | pd.DataFrame | Panels | Path | str,
    placebo: PatchResult | None = None,
    *,
    groups: Sequence[Hashable] | None = None,
    arms: Sequence[str] | None = None,
) -> Figure:
    """Draw what transplanting one head does to log p(answer), layer by head, the placebo beside it.

    One colour scale serves all; a dot marks a head whose 95% interval excludes zero.

    Args:
        source: a result of :func:`interp.patch` over a sweep of layers and heads, effects by arm, or the
            directory of a run of stored_or_suppressed or its table of heads.
        placebo: the same sweep with a wrong subject's patterns, beside a single result.
        groups: the subject of every fact of a single result.
        arms: which arms of a run to draw; all without it.

    Raises:
        InputError: the cells are not layers by heads, or the run holds no grid.
    """
    if isinstance(source, Path | str):
        path = Path(source) / "heads.parquet"
        panels: Panels = _of_arms(read_parquet(path), str(path), arms)
    elif isinstance(source, pd.DataFrame):
        panels = _of_arms(source, "the table", arms)
    elif isinstance(source, Mapping):
        panels = source
    else:
        control = None if placebo is None else HeadEffects.of(placebo, groups)
        panels = {"": (HeadEffects.of(source, groups), control)}
    return _draw(panels)


def _of_arms(table: pd.DataFrame, where: str, arms: Sequence[str] | None) -> Panels:
    held = {str(arm): rows for arm, rows in table.groupby("arm", sort=False)} if "arm" in table else {}
    if not held:
        raise InputError(f"{where}: holds no heads; no arm suppressed a fact")
    if odd := [arm for arm in arms or () if arm not in held]:
        raise InputError(f"{where}: holds no arm {odd[0]!r}; choose from {', '.join(held)}")
    right, wrong = ("gain", "low", "high"), ("placebo", "placebo_low", "placebo_high")
    made = {}
    for arm in arms or held:
        rows = held[arm]
        counted = "placebo_n" if "placebo_n" in rows else "n"  # a run of an earlier version does not say
        made[arm] = (
            HeadEffects.of_table(rows, right),
            HeadEffects.of_table(rows, wrong, counted) if rows["placebo"].notna().any() else None,
        )
    return made


@style.in_house_style
def _draw(panels: Panels) -> Figure:
    columns = 2 if any(placebo is not None for _, placebo in panels.values()) else 1
    layers, heads = next(iter(panels.values()))[0].mean.shape
    width = min(2.7, max(1.25, 0.36 * heads), (style.room() - 0.95) / columns)
    height = min(max(width * layers / heads, 0.28 * layers, 0.6), 3.4)
    cell = (0.95 * width / heads, height / layers)
    figure = style.new_figure(0.95 + width * columns, 0.2 + len(panels) * (height + 0.42) + 0.2)
    grid = list(figure.subplots(len(panels), columns, squeeze=False))
    drawn = [effects for pair in panels.values() for effects in pair if effects is not None]
    most = max(float(np.nanmax(np.abs(effects.mean))) for effects in drawn) or 1.0
    scale = {"cmap": style.DIVERGING, "vmin": -most, "vmax": most}
    labels = drawable_labels(panels, 14)
    for line, (arm, pair) in zip(grid, panels.items(), strict=True):
        for axes, effects in zip(line, pair, strict=False):
            if effects is None:
                axes.set_axis_off()
                continue
            image = draw_map(axes, effects.mean, cell, sign=True, marked=effects.settled, **scale)
            index_ticks(axes, layers, heads, width)
            axes.set_xlabel("head" if line is grid[-1] else "")
            name = labels[arm] if arm else "transplant"
            axes.set_title(f"{name if axes is line[0] else 'placebo'}, n = {effects.n:,}", loc="left")
        line[0].set_ylabel("layer")
    figure.colorbar(
        image, ax=[axes for line in grid for axes in line], label=UNIT, aspect=24, fraction=0.06, pad=0.03
    )
    return figure
