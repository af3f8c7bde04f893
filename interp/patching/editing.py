"""Turning interventions into hooks on a pass whose rows are (cell, fact) pairs resumed at some position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.measures.attention import Hook
from interp.measures.spans import PromptBatch, rows_by_id
from interp.patching.attention_rows import mask_and_renormalise, scale_and_renormalise
from interp.patching.interventions import (
    Intervention,
    Knockout,
    Mean,
    Replace,
    Scale,
    edits,
    heads_of,
    layers_of,
)
from interp.patching.positions import keys as role_keys
from interp.patching.positions import positions, slots
from interp.patching.recording import ATTENTION, Site, hook_name
from interp.patching.resumed_rows import ResumedRows


@dataclass(frozen=True, kw_only=True)
class RowEdit:
    """One intervention on the rows of its cell.

    Edit e is of token ``query[e]`` of row ``row[e]``, which stands at position ``at[e]`` of its prompt;
    ``keys`` marks the columns edited there and ``key_positions`` says which positions all columns are. What
    is put in comes from slot ``slot[e]`` of recorded fact ``donor[e]``.
    """

    item: Intervention
    heads: Int[Tensor, " head"]
    row: Int[Tensor, " edit"]
    query: Int[Tensor, " edit"]
    at: Int[Tensor, " edit"]
    keys: Bool[Tensor, "edit key"]
    key_positions: Int[Tensor, "edit key"]
    donor: Int[Tensor, " edit"]
    slot: Int[Tensor, " edit"]

    def apply(self, activation: Tensor, layer: int) -> None:
        """Overwrite in place what the intervention edits."""
        place: tuple[Tensor, ...] = (self.row, self.query)
        if self.item.site in ATTENTION:
            place = (self.row[:, None], self.heads[None], self.query[:, None])
        elif len(self.heads):
            place = (self.row[:, None], self.query[:, None], self.heads[None])
        place = tuple(part.to(activation.device) for part in place)
        activation[place] = self._new_values(activation[place], layer).to(activation.dtype)

    def _new_values(self, old: Float[Tensor, "edit ..."], layer: int) -> Tensor:
        do, attention = self.item.do, self.item.site in ATTENTION
        if isinstance(do, Mean):
            kept = do.source.values[:, do.source.layers.index(layer)][do.source.places >= 0]
            return self._select_heads(kept.mean(0, keepdim=True)).to(old).expand_as(old)
        if isinstance(do, Replace):
            kept = do.source.values[:, do.source.layers.index(layer)][self.donor, self.slot]
            rows = self._select_heads(kept).to(old)
            return self._shift(rows, old) if attention else rows
        if attention:
            return self._reweigh(old)
        return old * do.by if isinstance(do, Scale) else torch.zeros_like(old)

    def _select_heads(self, values: Float[Tensor, "edit ..."]) -> Tensor:
        return values[:, self.heads] if len(self.heads) else values

    def _shift(self, rows: Float[Tensor, "edit head pos"], old: Float[Tensor, "edit head key"]) -> Tensor:
        """Move recorded rows to this pass's columns; what the query cannot see stays as it is."""
        position = self.key_positions[:, None].to(old.device)
        visible = (position >= 0) & (position <= self.at[:, None, None].to(old.device))
        moved = rows.gather(-1, position.clamp(0, rows.shape[-1] - 1).expand_as(old))
        return torch.where(visible, moved, old)

    def _reweigh(self, old: Float[Tensor, "edit head key"]) -> Tensor:
        do, keys = self.item.do, self.keys[:, None].to(old.device)
        if self.item.site == "scores":
            if isinstance(do, Scale):
                return torch.where(keys, old * do.by, old)
            return old.masked_fill(keys, torch.finfo(old.dtype).min if isinstance(do, Knockout) else 0)
        if isinstance(do, Scale):
            return scale_and_renormalise(old, keys, do.by)
        return mask_and_renormalise(old, keys) if isinstance(do, Knockout) else old.masked_fill(keys, 0)


def edit(
    model: TransformerBridge,
    batch: PromptBatch,
    item: Intervention,
    view: ResumedRows,
    rows: Int[Tensor, " row"],
) -> RowEdit:
    """Place an intervention on some rows of a pass.

    Args:
        model: the hooked model.
        batch: the encoded prompts.
        item: the intervention.
        view: where the pass's rows stand in their prompts.
        rows: which of them are edited.
    """
    wanted = edits(item, batch)
    inside = view.queries(wanted)[rows]
    which, query = inside.nonzero(as_tuple=True)
    row = rows[which]
    fact, at = view.fact[row], view.start[row] + query
    donor, slot = torch.zeros_like(fact), torch.zeros_like(fact)
    if isinstance(item.do, Replace):
        donors = dict(item.do.facts or {})
        names = [donors.get(fact_id, fact_id) for fact_id in batch.fact_ids]
        place = rows_by_id(item.do.source.fact_ids)
        donor = torch.tensor([place.get(name, 0) for name in names])[fact]
        slot = (positions(batch, item.at).long().cumsum(1) - 1)[fact, at]
    key_positions = view.key_positions[row]
    seen = (key_positions >= 0) & (key_positions <= at[:, None])
    keys = seen if item.keys is None else seen & view.keys(role_keys(batch, item.keys))[row]
    return RowEdit(
        item=item,
        heads=torch.tensor(heads_of(model, item), dtype=torch.long),
        row=row,
        query=query,
        at=at,
        keys=keys,
        key_positions=key_positions,
        donor=donor,
        slot=slot,
    )


def hooks(model: TransformerBridge, edits: Sequence[RowEdit]) -> list[Hook]:
    """Return one hook for each site and layer that some edit touches; edits act in their order."""
    by_place: dict[tuple[Site, int], list[RowEdit]] = {}
    for each in edits:
        if len(each.row):
            for layer in layers_of(model, each.item):
                by_place.setdefault((each.item.site, layer), []).append(each)

    def hook(layer: int, here: Sequence[RowEdit]) -> Callable[[Tensor, object], Tensor]:
        def overwrite(activation: Tensor, hook: object) -> Tensor:
            edited = activation.clone()
            for each in here:
                each.apply(edited, layer)
            return edited

        return overwrite

    return [(hook_name(site, layer), hook(layer, here)) for (site, layer), here in by_place.items()]


def first_positions(batch: PromptBatch, items: Sequence[Intervention]) -> Int[Tensor, " fact"]:
    """Return, for each fact, the first position that some intervention edits; the last one if none does.

    What stands before it is as in the plain pass, for no token sees those behind it.
    """
    first = batch.last.clone()
    for item in items:
        place = slots(edits(item, batch))
        if place.shape[1]:
            first = torch.where(place[:, 0] >= 0, torch.minimum(first, place[:, 0]), first)
    return first
