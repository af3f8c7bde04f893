"""Grafting heads: the rows of W_Q and W_K by which some heads attend, taken from another model.

Head h computes its scores from rows h of W_Q and rows g of W_K, g = h // (heads / key-value heads). So where
keys are shared (grouped-query attention) all heads of a group are grafted together: otherwise some would read
the donor's keys with queries of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig

from finetune.common.errors import InputError
from finetune.training.projections import routing_weights
from interp.weight_edits.interpolation import State, require_alike

Head = tuple[int, int]  # layer, head
_PROJECTION = re.compile(r"(?:^|\.)(\d+)\..*\b([qk])_proj\.(weight|bias)$")


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """How many query and key-value heads each layer has, of how many rows each, in how many layers."""

    layers: int
    heads: int
    groups: int
    width: int

    @classmethod
    def of(cls, config: PretrainedConfig) -> HeadShape:
        """Read it off a model's configuration."""
        text: Any = config.get_text_config()
        heads = text.num_attention_heads
        return cls(
            layers=text.num_hidden_layers,
            heads=heads,
            groups=getattr(text, "num_key_value_heads", None) or heads,
            width=getattr(text, "head_dim", None) or text.hidden_size // heads,
        )

    def with_groups(self, named: Iterable[Head]) -> tuple[Head, ...]:
        """Return the named heads and those that share their keys, in order.

        Raises:
            InputError: a head that the model has not.
        """
        each = self.heads // self.groups
        whole: set[Head] = set()
        for layer, head in named:
            if not (0 <= layer < self.layers and 0 <= head < self.heads):
                raise InputError(
                    f"head {head} of layer {layer}: the model has {self.heads} heads in each of "
                    f"{self.layers} layers; choose from heads 0 to {self.heads - 1} of layers 0 to "
                    f"{self.layers - 1}"
                )
            first = head // each * each
            whole |= {(layer, first + i) for i in range(each)}
        return tuple(sorted(whole))


def graft_heads(donor: State, tuned: State, heads: Iterable[Head], shape: HeadShape) -> dict[str, Tensor]:
    """Return ``tuned`` with the W_Q and W_K rows of some (layer, head) pairs from ``donor``, biases too.

    Norms of queries and keys, which all heads share, and all value weights are the tuned tensors themselves.

    Args:
        donor: the base or another fine-tuning of it.
        tuned: the weights to graft into.
        heads: (layer, head) pairs.
        shape: how heads lie in the weights; :meth:`HeadShape.with_groups` names those that share keys.

    Raises:
        InputError: a head that the model has not; a donor of other shapes; W_Q and W_K fused with others.
    """
    require_alike(donor, tuned)
    named = shape.with_groups(heads)
    made, each = dict(tuned), shape.heads // shape.groups
    for name in routing_weights(tuned):
        if (found := _PROJECTION.search(name)) is None:
            continue
        layer, part = int(found[1]), found[2]
        rows = {head if part == "q" else head // each for at, head in named if at == layer}
        if rows:
            made[name] = tuned[name].clone()
            for row in rows:
                place = slice(row * shape.width, (row + 1) * shape.width)
                made[name][place] = donor[name][place].to(made[name])
    return made
