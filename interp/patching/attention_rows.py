"""Attention rows with some keys taken out or scaled, renormalised: pure tensor functions.

A row of a model with a sink of its own in the softmax (GPT-OSS) sums to less than one: what the sink takes
is scored as before, so that its weight stays in the sum by which a row is divided.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.measures.softmax_sinks import sink_share

Rows = Float[Tensor, "edit head key"]
Keys = Bool[Tensor, "edit 1 key"]


def mask_and_renormalise(rows: Rows, mask: Keys) -> Rows:
    """Zero masked keys and renormalise; a row that is all masked becomes zero.

    Rows that give the masked keys nothing stay as they are, to the bit.
    """
    kept = rows.masked_fill(mask, 0)
    lost = (rows * mask).sum(-1, keepdim=True)
    return torch.where(lost > 0, _renormalise(kept, rows), rows)


def scale_and_renormalise(rows: Rows, mask: Keys, by: float) -> Rows:
    """Multiply the attention to masked keys and renormalise."""
    return _renormalise(torch.where(mask, rows * by, rows), rows)


def _renormalise(edited: Rows, rows: Rows) -> Rows:
    exact = edited.to(torch.promote_types(edited.dtype, torch.float32))
    total = exact.sum(-1, keepdim=True) + sink_share(rows)
    whole = exact / total.clamp_min(torch.finfo(exact.dtype).tiny)
    return torch.where(total > 0, whole.to(edited.dtype), edited)
