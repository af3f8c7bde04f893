"""An adapter's base: which model the adapter belongs to, by the name that it recorded.

Names are weak evidence: directories move, and one model goes by many hub ids. So a base is refused by name
only where both names can be looked at and clearly mean different models. Names, shapes and vocabulary of the
adapter's tensors are checked in any case, by :mod:`finetune.checkpoints.adapter_loading`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from peft import PeftModel

from finetune.checkpoints.adapter_files import (
    CONFIG,
    cached_snapshot,
    is_hub_id,
    is_quantised,
    plain_name,
    read_config,
    read_settings,
    recorded_place,
)
from finetune.checkpoints.gguf_files import is_gguf
from finetune.checkpoints.loading import adapter_base
from finetune.checkpoints.paths import is_path
from finetune.checkpoints.same_weights import same_weights
from finetune.checkpoints.shipped_models import shipped_name, shipped_place
from finetune.common.errors import InputError
from interp.models.sources import Source, in_memory, in_memory_adapter, source_title

# Initialisations of LoRA that leave the base as it is.
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")


def base_of(adapter: Source) -> Source:
    """Find an adapter's base: the directory or hub id in its configuration, or the model it is on.

    A relative directory is looked for from here and from beside the adapter.

    Raises:
        InputError: the configuration names none, or one that is not here; the model it is on was changed.
    """
    if in_memory_adapter(adapter):
        _require_untouched_base(adapter)
        return adapter
    return adapter_base(adapter)


def require_named_base(adapter: Source, base: Source) -> str | None:
    """Refuse a base that an adapter's record contradicts; return a notice where the record decides nothing.

    Two hub ids must end in the same name. A recorded model that is on this machine must have the same
    weights. An adapter that was trained on a quantised copy fits whatever its shapes and vocabulary fit.

    Raises:
        InputError: the adapter was trained on another model.
    """
    named = _recorded_base(adapter)
    if not named or in_memory(base):
        return None
    base, title = str(base), source_title(adapter)
    _require_no_adapter(named, adapter)
    place = _recorded_place(named, adapter)
    wrong = InputError(f"{title}: was trained on {named}, not on {base}; give its own base, or none at all")
    if str(place or named) != base and is_quantised(str(place or named)) and not shipped_name(named):
        if is_hub_id(named) and is_hub_id(base) and _are_others(plain_name(named), plain_name(base)):
            raise wrong
        return (
            f"{title} was trained on {named}, a quantised copy; it is measured on {base}, whose shapes and "
            "vocabulary it fits"
        )
    if is_hub_id(named) and is_hub_id(base):
        same = plain_name(named) == plain_name(base)
    elif place is not None and Path(base).is_dir():
        found = same_weights(place, Path(base))
        if found is None:
            return (
                f"{title} was trained on {named}; whether {base} is the same model cannot be told, for not "
                "both have safetensors"
            )
        same = found
    else:
        # The recorded directory is gone, or a hub model was downloaded to a directory.
        alike = plain_name(named) in {plain_name(part.replace("--", "/")) for part in Path(base).parts}
        told = f"{title} records {named} as its base; whether {base} is that model cannot be told"
        return None if alike or place is not None or is_gguf(base) else told
    if not same:
        raise wrong
    return None


def _are_others(one: str, other: str) -> bool:
    """Tell whether names of copies are clearly of two models: of two sizes, or one of an instructed model."""
    sizes = [re.findall(r"(?<![a-z\d.])\d+(?:\.\d+)?[bm](?![a-z\d])", name) for name in (one, other)]
    if all(sizes) and sizes[0] != sizes[1]:
        return True
    shorter, longer = sorted((one, other), key=len)
    rest = longer.removeprefix(shorter)
    return rest != longer and bool(re.search(r"(?<![a-z])(instruct|chat|it|sft|dpo)(?![a-z])", rest))


def _require_no_adapter(named: str, adapter: Source) -> None:
    """Refuse an adapter that was trained on top of another one, whose updates would be left out.

    A plain name, such as ``gpt2``, is a model's of the hub, whatever lies here of that name.
    """
    if "/" not in named or cached_snapshot(named) is not None or shipped_name(named):
        return
    own = None if in_memory(adapter) else Path(str(adapter))
    for place in (Path(named), *([] if own is None else [own / named, own.parent / named])):
        is_itself = own is not None and place.is_dir() and place.samefile(own)
        if not is_itself and (place / CONFIG).is_file() and not (place / "config.json").is_file():
            raise InputError(
                f"{source_title(adapter)}: its base {named} is an adapter itself; merge that one, and name it"
            )


def require_mergeable(name: str, model: PeftModel) -> None:
    """Refuse an adapter that changes no weights but adds inputs, such as virtual tokens.

    Raises:
        InputError: it cannot be merged.
    """
    if not hasattr(model.base_model, "merge_and_unload"):
        kind = model.peft_config[model.active_adapter].peft_type
        raise InputError(
            f"{name}: {getattr(kind, 'value', kind)} adds inputs and changes no weights, so this side would "
            "have no W_Q to W_O of its own; use LoRA or another adapter that can be merged"
        )


def may_share(adapter: Source) -> bool:
    """Tell whether an adapter's configuration lets both sides share the base's weights.

    DoRA, trained biases, embeddings or whole modules, methods other than LoRA, and initialisations that take
    something out of the base (PiSSA) need weights of their own; so no base has to be loaded to find out.
    """
    memory = in_memory_adapter(adapter)
    config: Any = adapter.peft_config[adapter.active_adapter] if memory else read_config(adapter)
    more = ("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias", "target_parameters")
    return (
        str(getattr(config.peft_type, "value", config.peft_type)) == "LORA"
        and not any(getattr(config, name, None) for name in more)
        and config.bias == "none"
        and config.init_lora_weights in PLAIN_STARTS
    )


def _require_untouched_base(adapter: PeftModel) -> None:
    """Refuse to take the base from below an adapter in memory that changed it for good."""
    config: Any = adapter.peft_config[adapter.active_adapter]
    initial = getattr(config, "init_lora_weights", True)
    biases = getattr(config, "bias", "none") != "none"
    if biases or initial not in PLAIN_STARTS:
        what = (
            "trained its base's biases" if biases else f"was initialised from its base's weights ({initial})"
        )
        raise InputError(
            f"{source_title(adapter)}: {what}, so the base below it has changed; give the base as well"
        )


def _recorded_base(adapter: Source) -> str:
    if in_memory_adapter(adapter):
        named = str(adapter.peft_config[adapter.active_adapter].base_model_name_or_path or "")
        return named if is_path(named) else ""
    return str(read_settings(adapter).get("base_model_name_or_path") or "")


def _recorded_place(named: str, adapter: Source) -> Path | None:
    """Find the recorded base on this machine; None where it is not, or is no longer one model."""
    try:
        found = recorded_place(named, None if in_memory(adapter) else adapter)
    except InputError:
        return None
    shipped = shipped_name(named)
    if found is None and shipped is not None and shipped_place(shipped).is_dir():
        return shipped_place(shipped)
    cached = cached_snapshot(named) if found is None else None
    return found if cached is None else Path(cached)
