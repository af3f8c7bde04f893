"""Check of attention edits: does an edited pattern reach the logits? Some bridges throw edits away.

Where a bridge keeps a model's native attention, its pattern can be read but not changed: a knockout there
would report "no effect" for every fact. So every layer is tried: its last token's row is moved onto the first
token, and the logits must move too.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError

LENGTH = 6


class InterventionError(InputError):
    """The model's attention can be measured but not intervened on."""


def layers_that_act(model: TransformerBridge) -> Bool[Tensor, " layer"]:
    """Tell for each layer whether an edit of its attention pattern changes the logits.

    All layers are tried in one forward pass: row l of the batch is edited at layer l only.
    """
    layers = model.cfg.n_layers
    device = next(model.parameters()).device
    ids = torch.arange(1, LENGTH + 1, device=device).remainder(model.cfg.d_vocab).expand(layers, -1)
    available = model.hook_dict

    def edit(pattern: Float[Tensor, "row head query key"], hook: object, layer: int) -> Tensor:
        edited = pattern.clone()
        edited[layer, :, -1] = 0
        edited[layer, :, -1, 0] = 1
        return edited

    hooks: list[tuple[Any, Any]] = [
        (name, lambda pattern, hook, layer=layer: edit(pattern, hook, layer))
        for layer in range(layers)
        if (name := f"blocks.{layer}.attn.hook_pattern") in available
    ]
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that an edit is ignored is what is being asked
        clean, moved = (
            model.run_with_hooks(ids, attention_mask=torch.ones_like(ids), fwd_hooks=chosen, use_cache=False)
            for chosen in ([], hooks)
        )
    # The same batch twice: without an effect a row is equal to the bit.
    return (clean[:, -1] != moved[:, -1]).any(-1).cpu()


def require_edits(model: TransformerBridge) -> None:
    """Refuse a model whose attention only looks editable.

    Raises:
        InterventionError: edits are thrown away, in some layers or in all.
    """
    acts = layers_that_act(model)
    if not acts.all():
        dead = (~acts).nonzero().flatten().tolist()
        where = "any layer" if len(dead) == len(acts) else f"layers {dead}"
        raise InterventionError(
            f"{model.cfg.architecture}: edits of attention patterns have no effect in {where}, so it can be "
            "measured but not intervened on; for knockouts and transplants use an architecture whose bridge "
            "rebuilds attention, such as Llama, Qwen, Gemma or GPT-2"
        )
