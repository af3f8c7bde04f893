"""Loading a causal language model, full checkpoint or LoRA adapter, as data: no pickle, no remote code.

A source is a local directory, a GGUF file, a hub id, or the name of a model that ships in a package. The
network is used only for a hub id, and never on behalf of what is local.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from finetune.checkpoints.adapter_files import base_of as adapter_base
from finetune.checkpoints.adapter_loading import attach_adapter
from finetune.checkpoints.filling import fill_model, take_generation_config, tensors_of
from finetune.checkpoints.inspection import inspect_checkpoint, read_configuration, require_trial
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.checkpoints.tokenizer_files import load_faithful_tokenizer
from finetune.checkpoints.verification import (
    SMALL,
    require_finite,
    require_runs,
    require_same,
    untie_config_if_untied,
)
from finetune.common.errors import InputError
from finetune.common.hub import loading_error, use_cache_if_unreachable
from finetune.common.messages import one_line

Source = str | Path
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json")
UNBOUNDED = 1 << 20  # tokens; more than anybody asks at once
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def load_model(
    source: Source, *, base: Source | None = None, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load ``source`` in ``dtype`` (float32 unless given) with its tokenizer, on a GPU if there is one.

    An adapter is put, unmerged, on ``base`` or else on the base that its own configuration names. A
    checkpoint that brings no tokenizer takes the base's.

    Raises:
        InputError: ``source`` is no checkpoint, is unsafe to load, or does not belong to the base.
    """
    tokenizer = tokenizer_for(source, base)
    if is_adapter(source):
        model = load_adapter(load_weights(base or adapter_base(source), dtype=dtype), source)
    else:
        model = load_weights(source, dtype=dtype)
    return cast("PreTrainedModel", model.to("cuda" if torch.cuda.is_available() else "cpu").eval()), tokenizer


def load_weights(
    source: Source,
    *,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    device_map: Any = None,
    attn_implementation: str | None = None,
) -> Any:
    """Load a full checkpoint in ``dtype`` (float32 unless given).

    All of the model's parameters come from the files, and all of the files' tensors go into the model.

    Args:
        source: a directory or hub id.
        dtype: what the weights are loaded in.
        revision: a branch, tag or commit of a hub id.
        allow_pickle: load weights that are not safetensors and could run code.
        device_map: how to spread over devices, as in transformers.
        attn_implementation: sdpa, where the architecture has it, unless given; never the configuration's.

    Raises:
        InputError: see :func:`load_model`.
    """
    source = resolve_checkpoint(source)
    require_checkpoint(source)
    found = inspect_checkpoint(source, revision=revision, allow_pickle=allow_pickle)
    for told in found.notices:
        warnings.warn(told, stacklevel=2)
    tensors, found = tensors_of(found)
    model = fill_model(found, tensors, dtype, device_map, attn_implementation)
    del tensors  # read anew, for parameters may share the memory that was read before
    require_same(str(source), model, tensors_of(found)[0])
    model.config.name_or_path = model.name_or_path = str(source)
    take_generation_config(model, source, revision)
    require_finite(str(source), model)
    if model.num_parameters() < SMALL or not require_trial(found):
        require_runs(str(source), model)
    untie_config_if_untied(str(source), model)
    return model


def load_adapter(model: PreTrainedModel, source: Source) -> PeftModel:
    """Put an adapter on a loaded base; see :func:`finetune.checkpoints.adapter_loading.attach_adapter`.

    Raises:
        InputError: the adapter is damaged, or was made for a base of other modules, shapes or vocabulary.
    """
    source = resolve_checkpoint(source)
    require_checkpoint(source)
    return attach_adapter(model, source).model


def tokenizer_for(source: Source, base: Source | None = None) -> PreTrainedTokenizerBase:
    """Load a checkpoint's own tokenizer, or its base's if it brings none."""
    source = resolve_checkpoint(source)
    if brings_tokenizer(source) or (base is None and not is_adapter(source)):
        return load_tokenizer(source)
    return load_tokenizer(base or adapter_base(source))


def brings_tokenizer(source: Source) -> bool:
    """Tell whether a checkpoint has a tokenizer of its own; of a hub id it is assumed."""
    return not Path(source).is_dir() or any((Path(source) / name).is_file() for name in TOKENIZER_FILES)


def load_tokenizer(source: Source, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint, as its files say; of EOS tokens named nowhere else the model's own.

    Raises:
        InputError: there is none, it has no vocabulary, or a hub id without a network.
    """
    source = resolve_checkpoint(source)
    require_checkpoint(source)
    try:
        return load_faithful_tokenizer(source, revision or "main")
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{source}: its tokenizer needs a package that is not installed ({one_line(error)}); install it"
        ) from error
    except Exception as error:  # tokenizers raise whatever their files lead to
        raise InputError(loading_error(source, error, "its tokenizer cannot be loaded")) from error


def configuration_of(source: Source) -> PreTrainedConfig:
    """Read a checkpoint's configuration, without its weights.

    Raises:
        InputError: there is none, or a hub id without a network.
    """
    source = resolve_checkpoint(source)
    require_checkpoint(source)
    return read_configuration(source)


def context_of(source: Source) -> int:
    """Return how many tokens a checkpoint's model, or an adapter's base, can read at once.

    Raises:
        InputError: see :func:`configuration_of`.
    """
    whole = adapter_base(source) if is_adapter(source) else source
    # A model without learnt or bounded positions (Bloom's ALiBi) names none.
    return int(getattr(configuration_of(whole), "max_position_embeddings", None) or UNBOUNDED)


def is_adapter(source: Source) -> bool:
    """Whether a local directory holds a PEFT adapter rather than a whole model."""
    return (Path(resolve_checkpoint(source)) / "adapter_config.json").is_file()


def require_checkpoint(source: Source) -> None:
    """Refuse what is neither a checkpoint directory nor a well-formed hub id.

    Raises:
        InputError: says which, and what was looked for.
    """
    path = Path(source)
    if path.is_file():
        raise InputError(f"{source}: is a file; name the checkpoint's directory, or a GGUF file")
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            remedy = "name the GGUF file in it" if any(path.glob("*.gguf")) else "name a checkpoint"
            raise InputError(f"{source}: holds neither config.json nor adapter_config.json; {remedy}")
    elif isinstance(source, Path) or path.is_absolute() or not _HUB_ID.fullmatch(source):
        raise InputError(f"{source}: no such directory; name a checkpoint directory or a hub id")
    else:
        use_cache_if_unreachable()
