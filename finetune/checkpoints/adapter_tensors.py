"""Reading a PEFT adapter's tensors, without pickle: damaged, empty and non-finite ones are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from finetune.checkpoints.adapter_files import CONFIG
from finetune.checkpoints.adapter_names import bare_name
from finetune.checkpoints.weight_files import LFS_POINTER, first_keys
from finetune.common.errors import InputError
from finetune.common.messages import one_line

WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"


def read_tensors(folder: str | Path, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Read an adapter's tensors, on the CPU.

    Raises:
        InputError: there are none, or they are damaged, pickled, empty (ungathered shards), not finite, or
            there under two names.
    """
    file = Path(folder) / WEIGHTS
    if not file.is_file():
        require_safe(folder, allow_pickle=allow_pickle)
        file = Path(folder) / PICKLED
    tensors = _tensors(file)
    _require_contents(file, tensors)
    spoilt = [n for n, tensor in tensors.items() if not bool(tensor.float().isfinite().all())]
    if spoilt:
        raise InputError(
            f"{file}: {first_keys(spoilt)} ({len(spoilt)} in all) is not finite (NaN or infinity); name an "
            "earlier checkpoint"
        )
    return tensors


def tensor_shapes(folder: str | Path) -> dict[str, Tensor]:
    """Read the names and shapes of an adapter's tensors, as tensors without contents.

    Raises:
        InputError: see :func:`read_tensors`; values are not looked at.
    """

    require_safe(folder)
    file = Path(folder) / WEIGHTS
    _require_fetched(file)
    try:
        with safe_open(file, framework="pt") as held:
            names = list(held.keys())
            shapes = {name: held.get_slice(name).get_shape() for name in names}
    except Exception as error:  # safetensors raises its own kinds
        raise _damage_error(file, error) from error
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    _require_contents(file, tensors)
    return tensors


def require_safe(folder: str | Path, *, allow_pickle: bool = False) -> None:
    """Refuse an adapter without weights, or with pickled ones that are not allowed.

    Raises:
        InputError: says which, and the remedy.
    """
    place = Path(folder)
    if (place / WEIGHTS).is_file():
        return
    if not (place / PICKLED).is_file():
        if any(place.glob("model*.safetensors")):
            raise InputError(
                f"{folder}: holds {CONFIG} beside the weights of a whole model; "
                f"remove {CONFIG} if the adapter was merged into it"
            )
        raise InputError(f"{folder}: holds no {WEIGHTS}; save the adapter again")
    if not allow_pickle:
        raise InputError(
            f"{folder}: its weights are pickled and could run code; save them as safetensors "
            "(save_pretrained does, where you trust them)",
            in_python=", or pass allow_pickle=True if you trust them",
        )


def _tensors(file: Path) -> dict[str, Tensor]:

    _require_fetched(file)
    try:
        if file.name == WEIGHTS:
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise their own kinds
        raise _damage_error(file, error) from error
    if not isinstance(found, dict) or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise InputError(f"{file}: holds something else than tensors by name; save the adapter again")
    return found


def _damage_error(file: Path, error: BaseException) -> InputError:
    return InputError(f"{file}: is damaged or cut short ({one_line(error)}); copy it again")


def _require_fetched(file: Path) -> None:
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise InputError(f"{file}: is a git-lfs pointer, not the weights; run `git lfs pull`")


def _require_contents(file: Path, tensors: Mapping[str, Tensor]) -> None:
    remedy = "save the adapter again with its shards gathered (ZeRO-3 and FSDP leave such files)"
    if not tensors:
        raise InputError(f"{file}: holds no tensors; {remedy}")
    pruned = {
        name.rpartition(".lora_E")[0]
        for name, tensor in tensors.items()
        if ".lora_E" in name and not tensor.numel()
    }
    # AdaLoRA may keep no rank of a layer at all.
    if empty := [n for n, t in tensors.items() if not t.numel() and n.rpartition(".lora_")[0] not in pruned]:
        raise InputError(f"{file}: {first_keys(empty)} ({len(empty)} in all) is empty; {remedy}")
    bare: dict[str, str] = {}
    for name in tensors:
        if (other := bare.setdefault(bare_name(name), name)) != name:
            raise InputError(
                f"{file}: holds both {other} and {name}, so which one counts cannot be told; save the "
                "adapter again with save_pretrained"
            )
