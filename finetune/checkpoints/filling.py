"""Making a model and putting a checkpoint's tensors into it, and nothing else that lies in its directory."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.checkpoints.inspection import CheckpointLayout, Source, match_files
from finetune.checkpoints.key_messages import Fit, mismatch_message, unusable_config_message
from finetune.checkpoints.weight_keys import attention_of, model_class
from finetune.common.errors import InputError
from finetune.common.hub import loading_error
from finetune.common.messages import one_line

if TYPE_CHECKING:
    import torch


def tensors_of(found: CheckpointLayout, opened: ExitStack) -> tuple[dict[str, Any], CheckpointLayout]:
    """Open the files and return their tensors by the model's key: slices that are read when they are used.

    With them goes ``found``, which of pickled files tells more than before they were read.

    Raises:
        InputError: pickled files hold more than tensors, or tensors that do not fill the model.
    """
    from safetensors import safe_open

    if found.files.pickled:
        tensors = _unpickle(found)
        files = replace(found.files, shapes={k: tuple(t.shape) for k, t in tensors.items()})
        found = match_files(found, files)
        return {found.renamed.get(key, key): tensor for key, tensor in tensors.items()}, found
    held = {file: opened.enter_context(safe_open(file, framework="pt")) for file in found.files.files}
    places = found.files.places.items()
    return {found.renamed.get(key, key): held[file].get_slice(key) for key, file in places}, found


def _unpickle(found: CheckpointLayout) -> dict[str, Any]:
    import torch

    tensors: dict[str, Any] = {}
    for file in found.files.files:
        try:
            # Even where pickle is allowed, nothing but tensors is made of it.
            tensors |= torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:
            raise InputError(
                f"{file}: cannot be read as tensors ({one_line(error)}); convert it to safetensors"
            ) from error
    return {key: value for key, value in tensors.items() if isinstance(value, torch.Tensor)}


def fill_model(
    found: CheckpointLayout,
    tensors: dict[str, Any],
    dtype: torch.dtype | None,
    device_map: Any,
    attention: str | None,
) -> Any:
    """Make the model and put the tensors into it.

    Args:
        found: the checkpoint, whose keys were found to fit.
        tensors: its tensors by the model's key.
        dtype: of the parameters, float32 unless given.
        device_map: how to spread them over devices.
        attention: which implementation; sdpa where there is it, unless given.

    Raises:
        InputError: the model cannot be made, or has a parameter that was not filled.
    """
    import torch

    kind, config = model_class(found.config)
    try:
        model, told = kind.from_pretrained(
            None,  # no directory, so that nothing but these tensors is looked for: no pickle, no code, no hub
            config=config,
            state_dict=tensors,
            dtype=dtype or torch.float32,
            device_map=device_map,
            attn_implementation=attention or attention_of(found.config),
            output_loading_info=True,
        )
    except Exception as error:
        raise unusable_config_message(found.source, error) from error
    outcome = Fit(missing=sorted(told["missing_keys"]), unexpected=[], mismatched=[], model=model)
    if not outcome.complete:
        raise InputError(mismatch_message(found.source, outcome))
    return model


def default_attention(model: Any) -> str:
    """Name the implementation of attention that a model, or a class of models, is loaded with unless told."""
    return "sdpa" if model._supports_sdpa else "eager"


def take_generation_config(model: Any, source: Source, revision: str | None) -> None:
    """Give the model the checkpoint's own end-of-sequence tokens and the like, where it brings any."""
    from transformers import GenerationConfig

    local, name = Path(source).is_dir(), "its generation_config.json"
    if local and not (Path(source) / "generation_config.json").is_file():
        return
    try:
        model.generation_config = GenerationConfig.from_pretrained(
            source, revision=revision or "main", local_files_only=local
        )
    except OSError as error:
        if local:
            raise InputError(loading_error(source, error, f"{name} cannot be read")) from error
    except Exception as error:
        raise InputError(loading_error(source, error, f"{name} cannot be used")) from error
