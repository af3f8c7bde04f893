"""Query and key projections, which decide where attention goes, told by their names in checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable

from finetune.common.errors import InputError

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
