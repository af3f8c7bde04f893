"""How checkpoints are loaded: precision, device, revision, and what is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from finetune.common.errors import InputError
from finetune.common.messages import one_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class LoadingSettings:
    """How checkpoints are loaded: precision, place, and what is trusted."""

    dtype: torch.dtype = torch.float32
    device: torch.device | None = None
    device_map: Any = None
    revision: str | None = None
    allow_pickle: bool = False


def loading_settings(
    dtype: str | torch.dtype | None,
    device: str | torch.device | None,
    device_map: Any,
    revision: str | None,
    allow_pickle: bool,
) -> LoadingSettings:
    """Check what the user set and fill in the rest: float32, on a GPU if there is one.

    Args:
        dtype: one of ``DTYPES``.
        device: where to; not with ``device_map``.
        device_map: how to spread over devices, as in transformers.
        revision: a branch, tag or commit of hub ids.
        allow_pickle: load weights that are not safetensors and could run code.

    Raises:
        InputError: a dtype that is none of the three, a device that is none or is not here, or both a device
            and a device map.
    """
    name = str(dtype or torch.float32).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"dtype = {name}: choose {', '.join(DTYPES)}")
    if device is not None and device_map is not None:
        raise InputError("device and device_map: give one of them")
    if device is None and device_map is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return LoadingSettings(
        dtype=DTYPES[name],
        device=None if device is None else _device(device),
        device_map=device_map,
        revision=revision,
        allow_pickle=allow_pickle,
    )


def _device(asked: str | torch.device) -> torch.device:
    """Return a device that tensors can be put on."""
    try:
        device = torch.device(asked)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        here = (
            f"cpu or cuda:0 to cuda:{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else "cpu"
        )
        raise InputError(
            f"device = {asked}: cannot be used on this machine ({one_line(error, 100)}); choose {here}"
        ) from error
    return device
