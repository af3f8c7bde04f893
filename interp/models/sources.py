"""Checkpoint sources: what a checkpoint may be given as, and what is refused before it is computed with.

A source is a local directory, a hub id, or a model in memory; a directory may hold a whole model or a LoRA
adapter. Loading itself is :mod:`finetune.checkpoints.loading`'; here stand the further demands of
measuring: decoders only, tokenizers that agree, adapters that belong to their base, and no model of the
caller's touched.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from finetune.checkpoints.inspection import inspect_checkpoint, read_configuration
from finetune.checkpoints.loading import is_adapter, load_weights, require_checkpoint
from finetune.checkpoints.paths import expand_home, resolve_checkpoint
from finetune.common.errors import InputError
from finetune.common.files import content_hash
from finetune.common.messages import one_line
from interp.models.architectures import architecture_of, class_of, require_decoder, require_supported
from interp.models.settings import LoadingSettings

Source = Any  # str | Path | PreTrainedModel | PeftModel; both classes are imported only where needed


def in_memory(source: Source) -> bool:
    """Tell whether a source is a model rather than a name of one."""
    return not isinstance(source, str | Path)


def in_memory_adapter(source: Source) -> bool:
    """Tell whether a source is a PEFT model in memory."""
    return in_memory(source) and hasattr(source, "peft_config")


def source_title(source: Source) -> str:
    """Name a source in messages and in provenance."""
    if not in_memory(source):
        return str(source)
    return f"{type(source).__name__} in memory ({getattr(source, 'name_or_path', '') or 'never saved'})"


def source_identity(source: Source, config: PreTrainedConfig | None = None) -> str | None:
    """Return what pins a source's content: a directory's hash or a hub commit; None for a model in memory."""
    if in_memory(source):
        return None
    if Path(source).is_dir():
        return f"sha256:{content_hash(Path(source))}"
    commit = getattr(config, "_commit_hash", None)
    return f"commit:{commit}" if commit else None


def resolve_source(source: Source, revision: str | None = None) -> Source:
    """Return the directory or hub id that a source stands for; an adapter's hub id is fetched.

    Raises:
        InputError: no such directory, no checkpoint in it, or a model that cannot be taken as it is.
    """
    source = local_source(source)
    if in_memory(source):
        return source
    require_checkpoint(source)
    return source if Path(source).is_dir() else _fetch_adapter(source, revision) or source


def local_source(source: Source) -> Source:
    """Return what a source stands for on this machine, with its ``~`` written out; no network is used.

    Raises:
        InputError: a run that has chosen no model, or a model that cannot be taken as it is.
    """
    if in_memory(source):
        _require_model(source)
        return source
    source = resolve_checkpoint(str(source))
    expanded = expand_home(source)
    return resolve_checkpoint(str(expanded)) if expanded.exists() else source


def notices(sources: Iterable[Source | None], options: LoadingSettings) -> list[str]:
    """Return what was put right in loading full checkpoints, such as prefixes taken off their keys."""
    named = [s for s in sources if s is not None and not in_memory(s) and not is_adapter(s)]
    return [
        told
        for source in dict.fromkeys(map(str, named))
        for told in inspect_checkpoint(
            source,
            revision=None if Path(source).is_dir() else options.revision,
            allow_pickle=options.allow_pickle,
        ).notices
    ]


def load_plain(source: Source, options: LoadingSettings) -> PreTrainedModel:
    """Load a full checkpoint as a plain eager model that the caller owns; a model in memory is copied.

    Raises:
        InputError: the source cannot be loaded safely, or is no causal language model.
    """
    if in_memory(source):
        model: Any = _copy_model(source)
        name = source_title(source)
        require_decoder(model.config, name)
        require_supported(model.config, class_of(model, name), name)
        model = model.to(dtype=options.dtype)
    else:
        require_measurable_kind(config_of(source, options), source_title(source))
        model = load_weights(
            source,
            dtype=options.dtype,
            revision=None if Path(source).is_dir() else options.revision,
            allow_pickle=options.allow_pickle,
            device_map=options.device_map,
            # Other implementations return no patterns, and in half precision they round differently.
            attn_implementation="eager",
        )
    if options.device is not None:
        model = model.to(options.device)
    model.set_attn_implementation("eager")
    return model.eval().requires_grad_(False)


def require_unquantised(source: Source, options: LoadingSettings) -> None:
    """Refuse a base whose weights an adapter cannot be merged into.

    Raises:
        InputError: the weights are quantised.
    """
    config = source.config if in_memory(source) else config_of(source, options)
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(
            f"{source_title(source)}: its weights are quantised, and an update merged into them would be "
            "rounded away; name the same base in bfloat16 or float32"
        )


def require_measurable_kind(config: PreTrainedConfig, name: str) -> None:
    """Refuse a configuration of what is no decoder, or of one that TransformerLens has no adapter for.

    Raises:
        InputError: says which.
    """
    require_decoder(config, name)
    require_supported(config, architecture_of(config), name)


def is_adapter_source(source: Source) -> bool:
    """Tell whether a source is an adapter, on disk or in memory."""
    return in_memory_adapter(source) if in_memory(source) else is_adapter(source)


def config_of(source: str | Path, options: LoadingSettings) -> PreTrainedConfig:
    """Read a checkpoint's configuration without its weights; an :class:`InputError` where there is none."""
    return read_configuration(source, revision=None if Path(source).is_dir() else options.revision)


def _fetch_adapter(name: str, revision: str | None) -> str | None:
    """Download an adapter given by its hub id (its own files only); None if the id names a whole model.

    Raises:
        InputError: the hub has neither under that id, or cannot be reached.
    """
    try:
        config_of(name, LoadingSettings(revision=revision))
        return None
    except InputError as error:
        # Every further try without a network would take its time as well.
        if "connect" in str(error) or find_adapter_config_file(name, revision=revision) is None:
            raise
    try:
        kinds = ["adapter_*", "*.json", "*.txt", "*.model"]
        return str(snapshot_download(name, revision=revision, allow_patterns=kinds))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: the adapter cannot be fetched ({one_line(error)}); check the network"
        ) from error


def _require_model(source: Source) -> None:
    if isinstance(source, TransformerBridge):
        raise InputError("a TransformerBridge: give the Hugging Face model, or the directory it came from")
    if not isinstance(source, PreTrainedModel) and not in_memory_adapter(source):
        raise InputError(f"{type(source).__name__}: give a directory, a hub id, or a Hugging Face model")
    if in_memory_adapter(source) and not isinstance(source, PeftModel):
        raise InputError(
            f"{source_title(source)}: has adapters built in; give the PeftModel, or the adapter's directory"
        )
    if isinstance(source, PeftModel) and len(source.active_adapters) != 1:
        active = ", ".join(source.active_adapters) or "none"
        raise InputError(
            f"{source_title(source)}: exactly one adapter must be active, not {active}; choose it with "
            "set_adapter"
        )
    if any(type(module).__module__.startswith("transformer_lens") for module in source.modules()):
        raise InputError(
            f"{source_title(source)}: TransformerLens has already rewired it; give the directory it came from"
        )


def _copy_model(source: Source) -> PreTrainedModel:
    """Copy a model in memory; of a PEFT model, the base below the adapter."""
    model = copy.deepcopy(source)
    if not in_memory_adapter(model):
        return model
    layers = [m for m in model.modules() if getattr(m, "merged", False) is True]
    for layer in layers:
        layer.unmerge()
    # PEFT's unload keeps the trained copy of a module that the adapter carries whole.
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ModulesToSaveWrapper):
                parent._modules[name] = child.original_module
    return model.unload()
