"""Weights told by their names in checkpoints: W_Q and W_K, which decide where attention goes, and the rest.

``routing`` is W_Q and W_K; ``values`` is W_V, W_O and the MLPs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from finetune.common.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Part = Literal["all", "routing", "values"]
# Every pattern of a part must match, so that no architecture is trained in half of it unawares.
_WEIGHTS: dict[Part, tuple[str, ...]] = {
    "all": ("",),
    "routing": tuple(rf"\b{name}_proj\.weight$" for name in (r"self_attn\.q", r"self_attn\.k")),
    "values": tuple(rf"\b{name}_proj\.weight$" for name in (r"self_attn\.v", r"self_attn\.o", r"mlp\.\w+")),
}

ROUTING = ("q_proj", "k_proj")
_ROUTING = re.compile(r"(^|\.)(q_proj|k_proj|q_norm|k_norm)\.")
_FUSED = re.compile(r"(^|\.)(c_attn|query_key_value|qkv_proj|Wqkv|qkv)\.")


def routing_weights(names: Iterable[str]) -> frozenset[str]:
    """Return the names that are of W_Q and W_K (biases, norms and LoRA factors of theirs included).

    Raises:
        InputError: W_Q and W_K are not weights of their own in this model.
    """
    names = list(names)
    found = frozenset(name for name in names if _ROUTING.search(name))
    if all(any(f"{part}." in name for name in found) for part in ROUTING):
        return found
    fused = next((name for name in names if _FUSED.search(name)), None)
    problem = f"{fused} holds W_Q, W_K and W_V in one" if fused else f"has no {' and '.join(ROUTING)}"
    raise InputError(
        f"W_Q and W_K cannot be told apart from the rest ({problem}); choose a model whose are weights of "
        "their own, or a cure that does not name them"
    )


def freeze_all_but(model: nn.Module, part: Part) -> tuple[str, ...]:
    """Let only the weights of ``part`` learn and return their names; InputError if one has no known name."""
    named = dict(model.named_parameters())
    for pattern in _WEIGHTS[part]:
        if not any(re.search(pattern, name) for name in named):
            raise InputError(f"{type(model).__name__}: has no {pattern!r}; take a model of Llama's names")
    for name, parameter in named.items():
        parameter.requires_grad_(any(re.search(pattern, name) for pattern in _WEIGHTS[part]))
    return tuple(name for name, parameter in named.items() if parameter.requires_grad)
