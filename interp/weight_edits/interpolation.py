"""Moving weights towards the model that they came from, all of them or some.

The straight line between a base and its fine-tuning mostly stays at a low loss (Wortsman et al. 2022, "Robust
fine-tuning of zero-shot models"); here it is asked whether suppressed facts lie on it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from finetune.common.errors import InputError
from finetune.common.seeds import torch_generator

State = Mapping[str, Shaped[Tensor, "..."]]
STEPS = 40  # halvings, after which a step is known to the last bit
TOLERANCE = 1e-3  # of a distance
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")


def interpolate_weights(
    base: State,
    tuned: State,
    share: float,
    *,
    modules: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Return ``tuned`` moved by ``share`` of the way to ``base``: (1 - share) tuned + share base.

    Weights that are not moved are the tuned tensors themselves.

    Args:
        base: the base's weights.
        tuned: the fine-tuned ones.
        share: how far; below 0 it moves on in fine-tuning's own direction.
        modules: only weights with one of these parts in their dotted name (``q_proj``, ``mlp``).
        layers: only these, which leaves embeddings and the final norm as they are.

    Raises:
        InputError: the two are of other names or shapes, nothing is chosen, or ``share`` is not finite.
    """
    require_alike(base, tuned)
    if not math.isfinite(share):
        raise InputError(f"share = {share}: give a number, 0 for the fine-tuned weights, 1 for the base's")
    moved = select_weights(tuned, modules=modules, layers=layers)
    made = dict(tuned)
    for name in moved:
        if tuned[name].is_floating_point():
            made[name] = torch.lerp(tuned[name].float(), base[name].float(), share).to(tuned[name].dtype)
    return made


def perturb_weights(
    tuned: State, towards: State, *, modules: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Move each chosen weight as far as ``towards`` lies away from it, in a random direction: a placebo.

    Args:
        tuned: the weights to move.
        towards: says how far each is moved.
        modules: only weights with one of these parts in their dotted name.
        seed: of the direction.

    Raises:
        InputError: the two are of other names or shapes, or nothing is chosen.
    """
    require_alike(towards, tuned)
    generator = torch_generator(seed, "random direction")
    made = dict(tuned)
    for name in select_weights(tuned, modules=modules):
        if tuned[name].is_floating_point():
            noise = torch.randn(tuned[name].shape, generator=generator).to(tuned[name].device)
            distance = float((towards[name].float() - tuned[name].float()).norm())
            made[name] = move_by(tuned[name], noise, distance)
    return made


def move_by(weight: Tensor, direction: Tensor, distance: float) -> Tensor:
    """Move a weight as far as said, as it is held: what rounding takes from a step, a longer one gives back.

    In bfloat16 most of a small step rounds away, and what is left would be a tenth of the distance.
    """
    scale, low, high = distance / max(float(direction.norm()), 1e-30), 0.0, math.inf
    moved = weight
    for _ in range(STEPS):
        moved = (weight.float() + scale * direction).to(weight.dtype)
        reached = float((moved.float() - weight.float()).norm())
        if abs(reached - distance) <= TOLERANCE * distance:
            break
        low, high = (scale, high) if reached < distance else (low, scale)
        scale = 2 * scale if high == math.inf else (low + high) / 2
    return moved


def select_weights(
    names: Sequence[str] | State, *, modules: Sequence[str] | None = None, layers: Sequence[int] | None = None
) -> tuple[str, ...]:
    """Return the names with one of ``modules`` among their parts, in one of ``layers``.

    Raises:
        InputError: a module or a layer that no name has.
    """
    kept = list(names)
    if modules is not None:
        if odd := [m for m in modules if not any(m in name.split(".") for name in kept)]:
            parts = sorted({part for name in kept for part in name.split(".") if not part.isdigit()})
            raise InputError(f"modules {', '.join(odd)}: the model has none; choose from {', '.join(parts)}")
        kept = [name for name in kept if any(module in name.split(".") for module in modules)]
    if layers is not None:
        if not isinstance(layers, Collection):
            raise InputError(f"layers = {layers!r}: give a list of whole numbers")
        has = {layer_of(name) for name in names} - {None}
        if odd_layers := sorted(set(layers) - has):
            raise InputError(
                f"layers {odd_layers}: the model has layers 0 to {len(has) - 1}; choose from these"
            )
        kept = [name for name in kept if layer_of(name) in layers]
    if not kept:
        raise InputError(
            f"modules {modules} of layers {layers}: the model has no such weights; choose modules that lie "
            "in these layers, or leave one of the two out"
        )
    return tuple(kept)


def layer_of(name: str) -> int | None:
    """Return the layer that a weight's name puts it in; None outside the layers."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def require_alike(base: State, tuned: State) -> None:
    """Refuse weights that do not correspond one to one.

    Raises:
        InputError: names the first weight that only one has, or that differs in shape.
    """
    if odd := sorted(set(base) ^ set(tuned)):
        raise InputError(f"weight {odd[0]} is in one of the two models only; give a base and its fine-tuning")
    for name, weight in tuned.items():
        if weight.shape != base[name].shape:
            raise InputError(
                f"weight {name} is {tuple(base[name].shape)} in the base and {tuple(weight.shape)} in the "
                "other; give models of one vocabulary and shape"
            )
