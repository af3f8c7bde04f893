"""Making a model and putting a checkpoint's tensors into it, and nothing else that lies in its directory."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import GenerationConfig

from finetune.checkpoints.inspection import CheckpointLayout, Source, match_files
from finetune.checkpoints.key_messages import Fit, mismatch_message, unusable_config_message
from finetune.checkpoints.weight_files import PIECE
from finetune.checkpoints.weight_keys import default_attention, model_class
from finetune.common.errors import InputError
from finetune.common.hub import loading_error
from finetune.common.messages import one_line


class FileSlice:
    """A tensor of a safetensors file that is read when it is used, in pieces and in the wanted dtype.

    The file is mapped anew for every piece: what a process has read of a mapped file counts as its memory,
    and so does a float32 copy of a large embedding on its way to bfloat16.
    """

    def __init__(self, file: Path, key: str, shape: tuple[int, ...]) -> None:
        self.file, self.key, self.shape = file, key, shape
        self.dtype: torch.dtype | None = None

    def get_shape(self) -> tuple[int, ...]:
        """Return the tensor's shape."""
        return self.shape

    def __getitem__(self, index: Any) -> torch.Tensor:
        if index is not ... or not self.shape:
            return self._read(index)
        rows = max(1, PIECE // max(1, math.prod(self.shape[1:])))
        if self.shape[0] <= rows:
            return self._read(index)
        whole = torch.empty(self.shape, dtype=self._read(slice(0, 1)).dtype)
        for start in range(0, self.shape[0], rows):
            whole[start : start + rows] = self._read(slice(start, start + rows))
        return whole

    def _read(self, index: Any) -> torch.Tensor:
        with safe_open(self.file, framework="pt") as opened:
            part: torch.Tensor = opened.get_slice(self.key)[index]
        return part.to(self.dtype) if self.dtype is not None and part.is_floating_point() else part


def tensors_of(found: CheckpointLayout) -> tuple[dict[str, Any], CheckpointLayout]:
    """Return the files' tensors by the model's key: slices that are read when they are used.

    With them goes ``found``, which of pickled files tells more than before they were read.

    Raises:
        InputError: pickled files hold more than tensors, or tensors that do not fill the model.
    """
    if found.files.pickled:
        tensors = _unpickle(found)
        files = replace(found.files, shapes={k: tuple(t.shape) for k, t in tensors.items()})
        found = match_files(found, files)
        return {found.renamed.get(key, key): tensor for key, tensor in tensors.items()}, found
    files = found.files
    slices = {key: FileSlice(file, key, files.shapes[key]) for key, file in files.places.items()}
    return {found.renamed.get(key, key): each for key, each in slices.items()}, found


def _unpickle(found: CheckpointLayout) -> dict[str, Any]:
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
    kind, config = model_class(found.config)
    # Where parts of an architecture stay in float32, transformers casts.
    if not (kind._keep_in_fp32_modules or kind._keep_in_fp32_modules_strict):
        for tensor in tensors.values():
            if isinstance(tensor, FileSlice):
                tensor.dtype = dtype or torch.float32
    try:
        model, told = kind.from_pretrained(
            None,  # no directory, so that nothing but these tensors is looked for: no pickle, no code, no hub
            config=config,
            state_dict=tensors,
            dtype=dtype or torch.float32,
            device_map=device_map,
            attn_implementation=attention or default_attention(kind),
            output_loading_info=True,
        )
    except Exception as error:
        raise unusable_config_message(found.source, error) from error
    outcome = Fit(missing=sorted(told["missing_keys"]), unexpected=[], mismatched=[], model=model)
    if not outcome.complete:
        raise InputError(mismatch_message(found.source, outcome))
    return model


def take_generation_config(model: Any, source: Source, revision: str | None) -> None:
    """Give the model the checkpoint's own end-of-sequence tokens and the like, where it brings any."""
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
