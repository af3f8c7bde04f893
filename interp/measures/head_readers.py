"""Reading attention heads through the unembedding, with every norm on the way held at its scale.

1. One forward pass keeps, for the last prompt token of each fact: the value vectors summed over chosen
   source tokens, plain and weighted by attention, and the scales of the norms between head and logits.
2. A norm at a fixed scale is linear up to a constant, so a direction of the unembedding becomes a direction
   before the final norm and, where a model normalises the attention's output too, before that one.
3. A head's contribution to a logit is then value . W_O . direction / scales; summed over heads and sources
   (attention-weighted), with the residual stream's other terms, it is the unembedding's output.

Logits here are the unembedding's output: before a softcap or a constant factor that the model may apply.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge

from finetune.common.errors import InputError
from interp.measures.attention import Hook, last_token_logits, logit_rows
from interp.measures.spans import PromptBatch

HELD = 2**26  # numbers that one pass may keep of heads: 256 MiB in float32
KEPT = ("stored", "used", "everything", "mass", "rows")  # of every layer
HeadVectors = Float[Tensor, "fact layer head d_head"]


@dataclass(frozen=True, kw_only=True)
class HeadSources:
    """What each head reads for the last prompt token, from chosen sources and from all of them.

    ``stored`` is the sum of the chosen tokens' value vectors, ``used`` the same weighted by attention,
    ``everything`` the attention-weighted sum over the whole prompt; ``mass`` is the attention to the chosen
    tokens and ``rows`` to every token. ``post_scale`` and ``final_scale`` are the norms' scales at the last
    token, ``logits`` the unembedding's output there.
    """

    stored: HeadVectors
    used: HeadVectors
    everything: HeadVectors
    mass: Float[Tensor, "fact layer head"]
    rows: Float[Tensor, "fact layer head pos"]
    post_scale: Float[Tensor, "fact layer"]
    final_scale: Float[Tensor, " fact"]
    logits: Float[Tensor, "fact vocab"]

    def __getitem__(self, rows: Sequence[int]) -> HeadSources:
        """Keep some facts."""
        return HeadSources(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def scale(self, layer: int) -> Float[Tensor, " fact"]:
        """What divides a layer's values on their way to the logits."""
        return self.final_scale * self.post_scale[:, layer]


def source_rows(model: TransformerBridge) -> int:
    """Return how many prompts one pass may read: by their logits, and by what is kept of every head."""
    of_heads = 3 * model.cfg.n_layers * model.cfg.n_heads * model.cfg.d_head
    return max(1, min(logit_rows(model), HELD // of_heads))


def read_sources(
    model: TransformerBridge,
    batch: PromptBatch,
    mask: Bool[Tensor, "fact pos"] | None = None,
    *,
    hooks: Sequence[Hook] = (),
) -> HeadSources:
    """Run the prompts once and keep what heads read from some tokens.

    Args:
        model: any bridge; nothing is edited but by ``hooks``.
        batch: the encoded prompts.
        mask: the tokens; the subject's without it.
        hooks: act in the same pass.
    """
    chosen = batch.subject_mask if mask is None else mask
    fact = torch.arange(len(batch))
    require_readable(model)
    clip, values = value_clip(model), dict[str, Tensor]()
    kept: dict[str, dict[int, Tensor]] = {name: {} for name in KEPT}
    post: dict[int, Tensor] = {}
    last: dict[str, Tensor] = {}

    def hooks_of(layer: int) -> list[Hook]:
        def on_value(value: Float[Tensor, "fact pos kv d_head"], hook: object) -> None:
            values["now"] = value.float().clamp(-clip, clip)

        def on_pattern(pattern: Float[Tensor, "fact head query key"], hook: object) -> None:
            row = pattern[fact, :, batch.last].float()
            for name, part in _weigh(row, values.pop("now"), chosen.to(row.device)).items():
                kept[name][layer] = part

        def on_scale(scale: Float[Tensor, "fact pos 1"], hook: object) -> None:
            post[layer] = scale[fact, batch.last, 0].float()

        place, block = f"blocks.{layer}", model.blocks[layer]
        hooks: list[Hook] = [(f"{place}.attn.hook_v", on_value), (f"{place}.attn.hook_pattern", on_pattern)]
        return [*hooks, (f"{place}.ln1_post.hook_scale", on_scale)] if hasattr(block, "ln1_post") else hooks

    names, layers = ["unembed.hook_out"], range(model.cfg.n_layers)
    names += ["ln_final.hook_scale"] if is_norm(model.ln_final) else []
    of_layers = [hook for layer in layers for hook in hooks_of(layer)]
    last_token_logits(model, batch, [*hooks, *of_layers, *(_keep_last(name, batch, last) for name in names)])
    ones = torch.ones(len(batch), device=(logits := last["unembed.hook_out"]).device)
    return HeadSources(
        **{name: torch.stack([each[i].to(logits.device) for i in layers], 1) for name, each in kept.items()},
        post_scale=torch.stack([post.get(layer, ones).to(logits.device) for layer in layers], dim=1),
        final_scale=last["ln_final.hook_scale"][:, 0] if len(names) > 1 else ones,
        logits=logits,
    )


def require_readable(model: TransformerBridge) -> None:
    """Refuse models whose residual stream does not go through one last norm to the unembedding.

    Raises:
        InputError: names the model (OPT-350m normalises behind its layers and projects what leaves them).
    """
    if not hasattr(model, "ln_final"):
        raise InputError(
            f"{model.cfg.model_name or type(model).__name__}: has no norm in front of its unembedding, so "
            "that heads cannot be read through it; give a model that has one"
        )


def value_clip(model: TransformerBridge) -> float:
    """Return the bound to which a model clips its values before they are weighed (OLMo, MPT, DBRX)."""
    config = getattr(model.original_model, "config", None)
    held = [getattr(part, "clip_qkv", None) for part in (config, getattr(config, "attn_config", None))]
    return next((float(bound) for bound in held if bound), math.inf)


def _keep_last(name: str, batch: PromptBatch, kept: dict[str, Tensor]) -> Hook:
    """Keep an activation of each prompt's last token, under its name."""

    def keep(activation: Float[Tensor, "fact pos _"], hook: object) -> None:
        # The unembedding is handed the last position alone.
        at = batch.last if activation.shape[1] > 1 else 0
        kept[name] = activation[torch.arange(len(batch)), at].float()

    return name, keep


def readers(
    model: TransformerBridge, layer: int, directions: Float[Tensor, "target d_model"]
) -> Float[Tensor, "target head d_head"]:
    """Take directions of the unembedding's output back to each head's values, up to the norms' scales."""
    block = model.blocks[layer]
    before = through_norm(model.ln_final, directions)
    if hasattr(block, "ln1_post"):
        before = through_norm(block.ln1_post, before)
    # Some models multiply what attention adds to the residual stream by a constant.
    before = before * getattr(block, "residual_contribution_scale", 1.0)
    w_o = block.attn.W_O.float().to(before.device)
    return einsum(w_o, before, "head d_head d_model, target d_model -> target head d_head")


def through_norm(norm: nn.Module, directions: Float[Tensor, "target d_model"]) -> Tensor:
    """Return the directions before a norm of scale one that read what ``directions`` read after it."""
    if not is_norm(norm):
        return directions
    weight = getattr(norm, "weight", None)
    if isinstance(weight, Tensor):
        weight = weight.to(directions)
        directions = directions * (1 + weight if norm.uses_weight_offset else weight)
    return directions if norm.uses_rms_norm else directions - directions.mean(-1, keepdim=True)


def is_norm(module: nn.Module) -> bool:
    """Tell a norm from what models without one carry in its place."""
    return hasattr(module, "hook_scale")


def _weigh(
    row: Float[Tensor, "fact head pos"], value: Float[Tensor, "fact pos kv d_head"], mask: Tensor
) -> dict[str, Tensor]:
    """Sum values over sources; query head h reads key-value head h // (heads / kv)."""
    n_kv = value.shape[2]
    grouped = rearrange(row, "fact (kv group) pos -> fact kv group pos", kv=n_kv)
    chosen = mask.to(row.dtype)

    def weighted(rows: Float[Tensor, "fact kv group pos"]) -> Float[Tensor, "fact head d_head"]:
        summed = einsum(rows, value, "fact kv group pos, fact pos kv d -> fact kv group d")
        return rearrange(summed, "fact kv group d -> fact (kv group) d")

    stored = einsum(chosen, value, "fact pos, fact pos kv d -> fact kv d")
    return {
        "stored": repeat(stored, "fact kv d -> fact (kv group) d", group=row.shape[1] // n_kv),
        "used": weighted(grouped * chosen[:, None, None]),
        "everything": weighted(grouped),
        "rows": row,
        "mass": einsum(row, chosen, "fact head pos, fact pos -> fact head"),
    }
