"""Which base an adapter belongs to: by the name that it recorded, and by the shapes of its weights.

Names are weak evidence: directories move, and one model goes by many hub ids. So a base is refused by name
only where both names can be looked at and clearly mean different models. Shapes and vocabulary are checked in
any case.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.facts import InputError
from finetune.files import fingerprint
from finetune.models import adapter_base
from interp.sources import Source, in_memory, in_memory_adapter, title

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def base_of(adapter: Source) -> Source:
    """Find an adapter's base: the directory or hub id in its configuration, or the model it is on.

    A relative directory is looked for from here and from beside the adapter.

    Raises:
        InputError: the configuration names none, or one that is not here; the model it is on was changed.
    """
    if in_memory_adapter(adapter):
        _require_untouched_base(adapter)
        return adapter
    named = adapter_base(adapter)
    for place in (Path(named), Path(adapter) / named, Path(adapter).parent / named):
        if (place / "config.json").is_file():
            return str(place)
    if cached := _cached(named):
        return cached
    raise InputError(
        f"{adapter}: its base {named} is not on this machine; give the base as well "
        "(a directory, or the hub id, which is then downloaded)"
    )


def require_named_base(adapter: Source, base: Source) -> None:
    """Refuse a base that an adapter's record contradicts.

    Two hub ids must end in the same name. A recorded directory that still exists must hold the same model.

    Raises:
        InputError: the adapter was trained on another model.
    """
    named = _recorded(adapter)
    if not named or in_memory(base):
        return
    other = Path(named)
    if other.is_dir() and Path(base).is_dir():
        same = other.resolve() == Path(base).resolve() or _weights(other) == _weights(Path(base))
    elif other.is_absolute() or Path(base).is_dir() or not _is_hub_id(named):
        return  # the recorded directory is gone, or a hub model was downloaded to a directory
    else:
        same = named.rpartition("/")[2].lower() == str(base).rpartition("/")[2].lower()
    if not same:
        raise InputError(
            f"{title(adapter)}: was trained on {named}, not on {base}; give its own base, or none at all"
        )


def require_fit(folder: str | Path, model: PreTrainedModel, allow_pickle: bool) -> None:
    """Compare an adapter's own weights with the base's layers before anything is loaded.

    Raises:
        InputError: pickled weights, a layer that the base lacks, or one of another shape or vocabulary.
    """
    if not (Path(folder) / "adapter_model.safetensors").is_file():
        if not (Path(folder) / "adapter_model.bin").is_file():
            raise InputError(f"{folder}: holds no adapter_model.safetensors; save the adapter again")
        if not allow_pickle:
            raise InputError(
                f"{folder}: its weights are pickled and could run code; save them as safetensors, "
                "or pass allow_pickle=True if you trust them"
            )
    modules = dict(model.named_modules())
    base = model.config.name_or_path or "the base"
    for key, shape in _shapes(folder).items():
        path, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
        if not path:
            _require_whole(folder, key, shape, model, base)
            continue
        layer = modules.get(path)
        if layer is None:
            raise InputError(f"{folder}: adapts {path}, which {base} has not; name the adapter's own base")
        _require_shape(folder, path, part, shape, layer, base)


def require_complete(folder: str | Path, model: PeftModel) -> None:
    """Refuse an adapter that leaves layers it should adapt as they are: PEFT would start those at zero.

    Raises:
        InputError: the base has more such layers than the one the adapter was made for.
    """
    brought = {key.rpartition(".lora_")[0].removeprefix("base_model.model.") for key in _shapes(folder)}
    whole: Any = model.base_model.model
    layers = [path for path, layer in whole.named_modules() if hasattr(layer, "lora_A")]
    missing = [path for path in layers if brought and path not in brought]
    if missing:
        raise InputError(
            f"{folder}: brings nothing for {missing[0]} ({len(missing)} such layers), so it was made for "
            "another base; name the adapter's own"
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


def _require_untouched_base(adapter: PeftModel) -> None:
    """Refuse to take the base from below an adapter in memory that changed it for good."""
    config: Any = adapter.peft_config[adapter.active_adapter]
    initial = getattr(config, "init_lora_weights", True)
    biases = getattr(config, "bias", "none") != "none"
    if biases or initial not in (True, False, "gaussian", "eva", "orthogonal"):
        what = (
            "trained its base's biases" if biases else f"was initialised from its base's weights ({initial})"
        )
        raise InputError(f"{title(adapter)}: {what}, so the base below it has changed; give the base as well")


def _shapes(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of an adapter's weights, without the weights; empty if they are pickled."""
    from safetensors import safe_open

    file = Path(folder) / "adapter_model.safetensors"
    if not file.is_file():
        return {}
    with safe_open(file, framework="pt") as weights:
        return {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118


def _recorded(adapter: Source) -> str:
    if in_memory_adapter(adapter):
        config = adapter.peft_config[adapter.active_adapter]
        return str(config.base_model_name_or_path or "")
    recorded: dict[str, Any] = json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    return str(recorded.get("base_model_name_or_path") or "")


def _weights(folder: Path) -> list[str]:
    """Hash a checkpoint's weight files; names and shards count, other files do not."""
    return [fingerprint(file) for file in sorted(folder.glob("*.safetensors"))]


def _is_hub_id(name: str) -> bool:
    return not Path(name).exists() and name.count("/") == 1 and name[0] not in "./~"


def _cached(name: str) -> str | None:
    """Find a hub model in the local cache: its directory there, so that loading it asks no network."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json") if _is_hub_id(name) else None
    return str(Path(config).parent) if isinstance(config, str) else None


def _require_shape(
    folder: str | Path, path: str, part: str, shape: tuple[int, ...], layer: Any, base: str
) -> None:
    from transformers.pytorch_utils import Conv1D

    weight = getattr(layer, "weight", None)
    if weight is None or weight.ndim != 2 or len(shape) != 2 or part[0] not in "AB":
        return
    out_features, in_features = weight.T.shape if isinstance(layer, Conv1D) else weight.shape
    found, expected = (shape[1], in_features) if part[0] == "A" else (shape[0], out_features)
    if not part.startswith("embedding") and found != expected:
        raise InputError(
            f"{folder}: was made for a {path} of {found} {'inputs' if part[0] == 'A' else 'outputs'}, "
            f"and {base} has {expected}; name the adapter's own base"
        )


def _require_whole(
    folder: str | Path, key: str, shape: tuple[int, ...], model: PreTrainedModel, base: str
) -> None:
    """Check a module that the adapter carries whole, such as resized embeddings."""
    name = key.removeprefix("base_model.model.")
    try:
        expected = tuple(model.get_parameter(name).shape)
    except AttributeError:
        return  # PEFT names some of its modules differently; it reports what it cannot place
    if shape != expected:
        kind = "vocabulary" if shape[1:] == expected[1:] else "shape"
        raise InputError(
            f"{folder}: brings {name} of shape {list(shape)}, and {base} has {list(expected)}: another "
            f"{kind}; name the adapter's own base"
        )
