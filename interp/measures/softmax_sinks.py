"""Sinks in the softmax (GPT-OSS): what attention rows leave to a sink that is no key."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def sink_share(rows: Float[Tensor, "*row key"]) -> Float[Tensor, "*row 1"]:
    """Return what rows leave to a sink that is no key: zero where they sum to one but for rounding."""
    exact = rows.to(torch.promote_types(rows.dtype, torch.float32))  # bfloat16 would round the sum of a row
    missing = 1 - exact.sum(-1, keepdim=True)
    return missing.where(missing > max(1e-5, 4 * torch.finfo(rows.dtype).eps), 0)
