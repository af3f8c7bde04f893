"""Scaling what an adapter adds, module by module: still an ordinary adapter.

LoRA adds s B A x to a linear layer, so B times a factor is the update times that factor, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from finetune.common.errors import InputError
from interp.weight_edits.interpolation import State, layer_of

_SECOND = ("lora_B", "lora_embedding_B")
_FIRST = ("lora_A", "lora_embedding_A")


def scale_adapter_updates(
    state: State, by: float | Mapping[str, float], *, layers: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """Multiply an adapter's updates: all of them, or those of the modules that ``by`` names.

    ``state`` is what ``adapter_model.safetensors`` holds. ``layers`` limits it to some layers.

    Raises:
        InputError: a module or layer that has no update; an adapter that is more than low-rank updates.
    """
    if odd := [name for name in state if not _is(name, (*_FIRST, *_SECOND))]:
        raise InputError(
            f"{odd[0]}: is no low-rank update, and does not scale with one; merge the adapter and "
            "interpolate the whole weights instead"
        )
    updates = [name for name in state if _is(name, _SECOND)]
    factors = {_module(name): by for name in updates} if isinstance(by, int | float) else dict(by)
    if missing := sorted(set(factors) - {_module(name) for name in updates}):
        has = ", ".join(sorted({_module(name) for name in updates}))
        raise InputError(f"modules {', '.join(missing)}: the adapter updates none; it updates {has}")
    if layers is not None and not any(layer_of(name) in layers for name in updates):
        held = sorted({layer for name in updates if (layer := layer_of(name)) is not None})
        remedy = f"choose from {', '.join(map(str, held))}" if held else "leave layers out"
        raise InputError(f"layers {list(layers)}: the adapter updates none of them; {remedy}")
    made = dict(state)
    for name in updates:
        if _module(name) in factors and (layers is None or layer_of(name) in layers):
            made[name] = state[name] * factors[_module(name)]
    return made


def _is(name: str, kinds: tuple[str, ...]) -> bool:
    return any(kind in name.split(".") for kind in kinds)


def _module(name: str) -> str:
    """Return the linear layer's own name: what stands before ``lora_B``."""
    parts = name.split(".")
    return parts[next(i for i, part in enumerate(parts) if part in (*_FIRST, *_SECOND)) - 1]
