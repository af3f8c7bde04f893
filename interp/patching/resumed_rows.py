"""Rows that resume prompts at their own positions, and the cache that gives them what stands before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


@dataclass(frozen=True, kw_only=True)
class ResumedRows:
    """Where the rows of one resumed pass stand in their prompts.

    Row r is fact ``fact[r]`` from position ``start[r]`` on, ``length`` tokens wide; its keys are ``prefix``
    columns of kept ones, of which the last ``start[r]`` count, and then its own tokens.
    """

    fact: Int[Tensor, " row"]
    start: Int[Tensor, " row"]
    prefix: int
    length: int

    def queries(self, mask: Bool[Tensor, "fact pos"]) -> Bool[Tensor, "row length"]:
        """Take marked positions to the rows' own tokens."""
        return self._shifted(mask, torch.arange(self.length)[None] + self.start[:, None])

    def keys(self, mask: Bool[Tensor, "fact pos"]) -> Bool[Tensor, "row key"]:
        """Take marked positions to the columns of attention."""
        return self._shifted(mask, self.key_positions)

    @property
    def key_positions(self) -> Int[Tensor, "row key"]:
        """The position in its prompt that each column of attention is; negative where it is none."""
        return torch.arange(self.prefix + self.length)[None] + (self.start - self.prefix)[:, None]

    def _shifted(self, mask: Tensor, position: Tensor) -> Tensor:
        inside = (position >= 0) & (position < mask.shape[1])
        return mask[self.fact[:, None], position.clamp(0, mask.shape[1] - 1)] & inside


def shared_cache(keys: Sequence[Tensor], values: Sequence[Tensor], rows: ResumedRows) -> Cache:
    """Make a cache that gives every row its fact's keys and values before its start, one layer at a time."""
    start = torch.full((len(keys[0]),), rows.prefix).scatter(0, rows.fact, rows.start)
    position = torch.arange(rows.prefix + rows.length)[None] + (start - rows.prefix)[:, None]

    class Shared(DynamicLayer):
        """Kept keys and values, copied for the rows only while their layer runs."""

        def __init__(self, keys: Tensor, values: Tensor) -> None:
            super().__init__()
            self.kept, self.is_initialized = (keys, values), True

        def update(
            self, key_states: Tensor, value_states: Tensor, *arguments: Any, **options: Any
        ) -> tuple[Tensor, Tensor]:
            keys, values = (
                _with_prefix(part, new, position, rows)
                for part, new in zip(self.kept, (key_states, value_states), strict=True)
            )
            return keys, values

        def get_seq_length(self) -> int:
            return rows.prefix

    return Cache(layers=[Shared(k, v) for k, v in zip(keys, values, strict=True)])


def _with_prefix(
    part: Float[Tensor, "fact kv pos d"],
    new: Float[Tensor, "row kv length d"],
    position: Int[Tensor, "fact key"],
    rows: ResumedRows,
) -> Float[Tensor, "row kv key d"]:
    """Shift each fact's kept part to where its rows begin, give it to them, and write their own behind it."""
    at = position.clamp(0, part.shape[2] - 1).to(part.device)
    shifted = part.gather(2, at[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3]))
    out = shifted.index_select(0, rows.fact.to(part.device))
    out[:, :, rows.prefix :] = new
    return out
