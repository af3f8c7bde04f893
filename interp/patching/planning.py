"""Plans of grids: what each cell resumes from, and which cells share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.short_repr import ShortRepr
from interp.measures.spans import PromptBatch
from interp.patching.editing import first_positions
from interp.patching.interventions import Edits, interventions_of, layers_of


@dataclass(frozen=True, kw_only=True)
class Group(ShortRepr):
    """Cells that resume at the same layer and the same position of every prompt."""

    cells: tuple[int, ...]
    layer: int
    start: Int[Tensor, " fact"]


@dataclass(frozen=True, kw_only=True)
class GridPlan(ShortRepr):
    """The groups of a grid, in the order they run.

    ``cost`` is what the grid takes beside one full pass per cell, in tokens times layers; ``tokens`` and
    ``layers`` are means over cells of what is computed anew.
    """

    groups: tuple[Group, ...]
    facts: int
    cells: int
    cost: float
    tokens: float
    layers: float
    prompt_tokens: float
    n_layers: int
    reason: str = ""

    def describe(self) -> str:
        """Say in a few lines what is computed once, what anew, and what that saves."""
        if self.reason:
            return f"{self.cells} cells on {self.facts} facts, each a full forward pass: {self.reason}"
        return (
            f"{self.cells} cells on {self.facts} facts: every prompt is run once, then cells resume from its "
            f"kept keys, values and residual stream in {len(self.groups)} groups.\n"
            f"On average a cell computes {self.tokens:.1f} of {self.prompt_tokens:.1f} tokens in "
            f"{self.layers:.1f} of {self.n_layers} layers: {self.cost:.3f} of a full pass per cell, "
            "the first pass included."
        )


def make_plan(
    model: TransformerBridge,
    batch: PromptBatch,
    cells: Sequence[Edits],
    tail_tokens: Int[Tensor, " fact"],
) -> GridPlan:
    """Group cells by the latest layer and positions that they can resume at.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        cells: interventions, one or several a cell.
        tail_tokens: how many tokens stand behind each prompt.
    """
    groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    starts: dict[tuple[int, ...], Tensor] = {}
    seen: dict[tuple[object, ...], tuple[int, ...]] = {}
    for i, cell in enumerate(cells):
        items = interventions_of(cell)
        # Cells of a grid mostly edit the same positions; finding those is what costs here.
        key = tuple((item.site, item.at, item.keys, item.facts) for item in items)
        if key not in seen:
            start = first_positions(batch, items)
            seen[key] = tuple(start.tolist())
            starts[seen[key]] = start
        layer = min(min(layers_of(model, item)) for item in items) if items else model.cfg.n_layers - 1
        groups.setdefault((layer, seen[key]), []).append(i)
    made = tuple(
        Group(cells=tuple(members), layer=layer, start=starts[start])
        for (layer, start), members in sorted(groups.items(), key=lambda pair: pair[0])
    )
    n_layers = model.cfg.n_layers
    tokens_of = batch.last + 1 + tail_tokens
    full = tokens_of.double().mean().item()
    work = [[(tokens_of - g.start).double().mean(), n_layers - g.layer] for g in made]
    anew = torch.tensor(work, dtype=torch.float64).view(-1, 2)
    count = torch.tensor([len(g.cells) for g in made])
    tokens, depth = ((anew * count[:, None]).sum(0) / max(1, len(cells))).tolist()
    cost = float((anew.prod(1) * count).sum() / (full * n_layers) + 1) / max(1, len(cells))
    return GridPlan(
        groups=made,
        facts=len(batch),
        cells=len(cells),
        cost=cost,
        tokens=tokens,
        layers=depth,
        prompt_tokens=full,
        n_layers=n_layers,
    )


def full_pass_plan(plan: GridPlan, reason: str) -> GridPlan:
    """Return the plan that runs every cell as a full pass, and says why."""
    everything = tuple(replace(g, layer=0, start=torch.zeros_like(g.start)) for g in plan.groups)
    return replace(plan, groups=everything, cost=1 + 1 / max(1, plan.cells), reason=reason)
