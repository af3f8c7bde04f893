"""Attention rows with some keys taken out or scaled, renormalised: pure tensor functions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Rows = Float[Tensor, "edit head key"]
Keys = Bool[Tensor, "edit 1 key"]


def mask_and_renormalise(rows: Rows, mask: Keys) -> Rows:
    """Zero masked keys and renormalise; a row that is all masked becomes zero.

    Rows that give the masked keys nothing stay as they are, to the bit.
    """
    kept = rows.masked_fill(mask, 0)
    lost = (rows * mask).sum(-1, keepdim=True)
    return torch.where(lost > 0, _renormalise(kept), rows)


def scale_and_renormalise(rows: Rows, mask: Keys, by: float) -> Rows:
    """Multiply the attention to masked keys and renormalise."""
    return _renormalise(torch.where(mask, rows * by, rows))


def _renormalise(rows: Rows) -> Rows:
    exact = rows.to(torch.promote_types(rows.dtype, torch.float32))  # bfloat16 would round the sum of a row
    total = exact.sum(-1, keepdim=True)
    whole = exact / total.clamp_min(torch.finfo(exact.dtype).tiny)
    return torch.where(total > 0, whole.to(rows.dtype), rows)
