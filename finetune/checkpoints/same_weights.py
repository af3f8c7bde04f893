"""Whether two checkpoints hold the same weights, however their files are cut."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from finetune.checkpoints.configs import COPY_AGAIN
from finetune.checkpoints.weight_files import WeightFiles, weight_files
from finetune.common.errors import InputError
from finetune.common.text_files import read_json_object


def same_weights(one: Path, other: Path) -> bool | None:
    """Tell whether two directories hold the same tensors under the same names, to the bit.

    Shards, and files that are no part of the model, do not count. None where it cannot be told: weights are
    pickled, missing or damaged, which loading says.
    """
    if one.resolve() == other.resolve():
        return True
    try:
        first, second = _files(one), _files(other)
    except InputError:
        return None
    if first.pickled or second.pickled:
        return None
    if first.shapes != second.shapes:
        return False
    return all(_same_bytes(_read(first, key), _read(second, key)) for key in first.shapes)


def _files(folder: Path) -> WeightFiles:
    named = read_json_object(folder / "config.json", remedy=COPY_AGAIN).get("transformers_weights")
    return weight_files(folder, allow_pickle=True, named=named)


def _read(files: WeightFiles, key: str) -> Tensor:
    with safe_open(files.places[key], framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(key)
    return tensor


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    """Compare without asking what numbers the bytes are, for no NaN equals another."""
    same_kind = one.dtype == other.dtype and one.shape == other.shape
    return same_kind and torch.equal(*(t.contiguous().flatten().view(torch.uint8) for t in (one, other)))
