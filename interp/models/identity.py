"""Model identity: whether two models are one, by what they compute, up to rounding."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.seeds import torch_generator
from finetune.common.short_repr import ShortRepr

PROBES, PROBE_LENGTH = 2, 8
SKETCHES = 4
TOKENS_AT_A_TIME = 4096  # of the embedding; bounds memory
SAME = {"float32": 1e-4, "float64": 1e-4}  # what rounding alone may move a probe (nats) or a sketch by
SAME_IN_HALF_PRECISION = 5e-2
SHAPE = ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "d_vocab", "n_key_value_heads", "architecture")


@dataclass(frozen=True, kw_only=True)
class Fingerprint(ShortRepr):
    """What identifies a model: a hash of its shape, and its log-probs (nats) on a few fixed tokens.

    The probe is of what the model computes, not of its bytes: merging an adapter and taking it out again
    changes every weight's last bits and leaves the model what it was, while the same bytes under an active
    adapter are another model. A few tokens do not show an edit to another token's row, so ``sketch`` holds
    random projections of every token's embedding and of the probe's log-probs over the whole vocabulary, in
    units of their norms.
    """

    shape: str
    probe: tuple[float, ...]
    dtype: str
    sketch: tuple[float, ...] = ()

    def _shown(self) -> Mapping[str, Any]:
        return {"shape": self.shape[:12], "dtype": self.dtype}

    def matches(self, other: Fingerprint) -> bool:
        """Tell whether the two are of one model, up to rounding."""
        mine, theirs = (*self.probe, *self.sketch), (*other.probe, *other.sketch)
        if (self.shape, self.dtype, len(mine)) != (other.shape, other.dtype, len(theirs)):
            return False
        tolerance = SAME.get(self.dtype, SAME_IN_HALF_PRECISION)
        return bool(np.max(np.abs(np.subtract(mine, theirs)), initial=0.0) <= tolerance)


def model_fingerprint(model: TransformerBridge) -> Fingerprint:
    """Identify a model, with one forward pass over a handful of tokens and a look at every embedding."""
    parameter = next(model.parameters())
    generator = torch_generator(0, "model probe")
    ids = torch.randint(int(model.cfg.d_vocab), (PROBES, PROBE_LENGTH), generator=generator)
    ids = ids.to(parameter.device)
    with torch.inference_mode():
        logits = model(ids, attention_mask=torch.ones_like(ids), use_cache=False).float()
        log_probs = logits.log_softmax(-1)
        chosen = log_probs[:, :-1].gather(-1, ids[:, 1:, None])
        sketch = (*_sketch(_embeddings(model, ids.device)), *_sketch([log_probs.flatten(0, 1).T]))
    shape = json.dumps([str(getattr(model.cfg, name, None)) for name in SHAPE])
    return Fingerprint(
        shape=hashlib.sha256(shape.encode()).hexdigest()[:16],
        probe=tuple(round(value, 7) for value in chosen.flatten().tolist()),
        dtype=str(parameter.dtype).removeprefix("torch."),
        sketch=sketch,
    )


def _embeddings(model: TransformerBridge, device: torch.device) -> Iterator[Float[Tensor, "token d_model"]]:
    for ids in torch.arange(int(model.cfg.d_vocab), device=device).split(TOKENS_AT_A_TIME):
        yield model.embed(ids[None])[0]


def _sketch(parts: Iterable[Float[Tensor, "token feature"]]) -> tuple[float, ...]:
    """Project a table, given in parts, onto random signs, in units of the table's norm."""
    generator = torch_generator(0, "model probe")

    def signs(rows: int) -> Float[Tensor, "row sketch"]:
        return torch.randint(2, (rows, SKETCHES), generator=generator).float() * 2 - 1

    total, squares, across = torch.zeros(SKETCHES), 0.0, None
    for part in parts:
        across = signs(part.shape[1]).to(part.device) if across is None else across
        seen = (part.float() @ across).cpu()
        total += (signs(len(part)) * seen).sum(0)
        squares += float(part.float().square().sum())
    return tuple(round(value, 7) for value in (total / max(math.sqrt(squares), 1e-30)).tolist())
