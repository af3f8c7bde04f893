"""Cache parity: whether a model reads on from its keys and values as it reads the whole text."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import LinearAttentionCacheLayerMixin

_TRIED: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
_LONGER, _SHORTER, _TAIL = (
    (3, 1, 2),
    (1, 2),
    3,
)  # tokens of two prompts, and one that stands behind the shorter
_ROUNDING = 0.05  # of the largest logit, less their mean: far more than rounding, far less than a place off


def goes_on_from_cache(model: PreTrainedModel) -> bool:
    """Whether a padded prompt and what is kept of it are read as the whole text is.

    Models that keep a state do not, nor such as pass over the cache or over positions that they are given
    (OpenAI's first GPT, XLNet, RWKV, Bart's decoder). Nothing may intervene on the model meanwhile.
    """
    if (tried := _TRIED.get(model)) is None:
        tried = _TRIED[model] = not keeps_a_state(model) and _reads_alike(model)
    return tried


def keeps_a_state(model: PreTrainedModel) -> bool:
    """Tell of a model with layers that keep a state (convolutions, linear attention) for keys and values."""
    layers = DynamicCache(config=model.config).layers
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def _reads_alike(model: PreTrainedModel) -> bool:
    """Compare logits behind a left-padded prompt, and behind a token more, with those of the whole text."""
    model.eval()
    at = model.device
    ids = torch.tensor([_LONGER, (0, *_SHORTER)], device=at)
    mask = torch.tensor([[1, 1, 1], [0, 1, 1]], device=at)
    given = {"attention_mask": mask, "position_ids": mask.cumsum(1).sub(1).clamp_min(0)}
    later = {
        "attention_mask": torch.cat([mask, mask[:, -1:]], 1),
        "position_ids": mask.sum(1, keepdim=True),
    }
    tail = torch.tensor([[_TAIL], [_TAIL]], device=at)
    try:
        with torch.inference_mode():
            kept = DynamicCache()
            first = model(input_ids=ids, past_key_values=kept, use_cache=True, **given).logits[1, -1]
            behind = model(input_ids=tail, past_key_values=kept, use_cache=True, **later).logits[1, -1]
            whole = model(input_ids=torch.tensor([[*_SHORTER, _TAIL]], device=at)).logits[0, -2:]
            found = torch.stack([first, behind])
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    # What all logits have in common says nothing.
    found, whole = (each.float() - each.float().mean(-1, keepdim=True) for each in (found, whole))
    return bool((found - whole).abs().max() <= _ROUNDING * whole.abs().max())
