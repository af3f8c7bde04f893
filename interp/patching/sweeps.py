"""Sweeps: grids of one intervention made in every layer, head, position or window of layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal, Self, get_args

from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from finetune.common.short_repr import ShortRepr
from interp.patching.interventions import (
    GROUPED,
    HEADLESS,
    Edits,
    Intervention,
    heads_of,
    interventions_of,
    layers_of,
)
from interp.patching.positions import Role
from interp.patching.recording import ATTENTION

Axis = Literal["layer", "head", "position"]
AT: tuple[Role, ...] = ("subject", "relation", "bos", "last")
KEYS: tuple[Role, ...] = ("subject", "relation", "bos", "rest")


@dataclass(frozen=True, kw_only=True)
class Grid(ShortRepr):
    """Cells with the axes they were made along: ``labels`` in order, the last one fastest."""

    cells: tuple[Edits, ...]
    labels: dict[str, tuple[int | str, ...]]

    def __len__(self) -> int:
        return len(self.cells)

    @classmethod
    def of(cls, cells: Self | Sequence[Edits] | Edits) -> Self:
        """Take a grid as it is, and number loose cells.

        Raises:
            InputError: there are none.
        """
        if isinstance(cells, cls):
            return cells
        made = tuple(cells) if isinstance(cells, list | tuple) else (cells,)
        if not made or not all(interventions_of(cell) for cell in made):
            raise InputError("there is nothing to patch; give at least one intervention for every cell")
        return cls(cells=made, labels={"cell": tuple(range(len(made)))})


def sweep(
    model: TransformerBridge,
    what: Edits,
    *,
    over: Sequence[Axis] = ("layer", "head"),
    window: int = 1,
    positions: Sequence[Role] | None = None,
) -> Grid:
    """Make one cell of an intervention for every place along the axes.

    Args:
        model: whose layers and heads are meant; the first intervention's own ``layers`` and ``heads`` limit
            them, windows included.
        what: an intervention, or several that are moved together.
        over: the axes, slowest first.
        window: how many neighbouring layers a cell edits, the labelled one in their middle.
        positions: roles along the ``position`` axis; for attention these are the keys.

    Raises:
        InputError: an unknown axis or role, heads of a site that has none, or a window that is no whole
            number from 1 on.
    """
    items = interventions_of(what)
    if not items:
        raise InputError("there is nothing to sweep; give at least one intervention")
    if not over or not set(over) <= set(get_args(Axis)):
        raise InputError(f"over = {list(over)}: choose axes from {', '.join(get_args(Axis))}")
    if not isinstance(window, Integral) or window < 1:
        raise InputError(f"window = {window!r}: a cell edits a whole number of layers, at least 1")
    if isinstance(positions, str) or not set(positions or ()) <= set(get_args(Role)):
        raise InputError(f"positions = {positions!r}: list roles from {', '.join(get_args(Role))}")
    if "head" in over and any(item.site in HEADLESS for item in items):
        raise InputError("over = head: residual and mlp have no heads; sweep their layers")
    keyed = all(item.site in ATTENTION for item in items)
    values: dict[str, tuple[int | str, ...]] = {
        "layer": layers_of(model, items[0]),
        "head": heads_of(model, items[0]),
        "position": tuple(positions or (KEYS if keyed else AT)),
    }
    labels: dict[str, tuple[int | str, ...]] = {axis: values[axis] for axis in over}
    layers, below, above = layers_of(model, items[0]), (window - 1) // 2, window // 2
    near: dict[int | str, tuple[int, ...]] = {
        layer: tuple(k for k in layers if layer - below <= k <= layer + above) for layer in layers
    }
    cells = [
        tuple(_place(model, item, dict(zip(labels, place, strict=True)), near) for item in items)
        for place in itertools.product(*labels.values())
    ]
    return Grid(cells=tuple(cells), labels=labels)


def _place(
    model: TransformerBridge,
    item: Intervention,
    place: dict[str, Any],
    near: dict[int | str, tuple[int, ...]],
) -> Intervention:
    changes: dict[str, Any] = {}
    if "layer" in place:
        changes["layers"] = near[place["layer"]]
    if "head" in place:
        changes["heads"] = (place["head"],)
        if item.site in GROUPED and place["head"] not in heads_of(model, replace(item, heads=None)):
            raise InputError(
                f"head {place['head']} of {item.site!r}: key-value heads are fewer than query heads; "
                "sweep k and v in a grid of their own"
            )
    if "position" in place:
        changes["keys" if item.site in ATTENTION else "at"] = place["position"]
    return replace(item, **changes)
