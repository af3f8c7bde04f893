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

HEAD = "lm_head.weight"


def same_weights(one: Path, other: Path) -> bool | None:
    """Tell whether two directories hold the same tensors under the same names.

    They are the same to the bit, or where one has less precision when both are rounded to it. Shards, files
    that are no part of the model, and a head that one of them saved beside tied embeddings do not count.
    None where it cannot be told: weights are pickled, missing or damaged, which loading says.
    """
    if one.resolve() == other.resolve():
        return True
    try:
        first, second = _files(one), _files(other)
    except InputError:
        return None
    if first.pickled or second.pickled:
        return None
    apart = first.shapes.items() ^ second.shapes.items()
    if any(key != HEAD or {*first.shapes, *second.shapes} - {HEAD} == set() for key, _ in apart):
        return False
    both = first.shapes.keys() & second.shapes.keys()
    return all(_same_numbers(_read(first, key), _read(second, key)) for key in both)


def _files(folder: Path) -> WeightFiles:
    named = read_json_object(folder / "config.json", remedy=COPY_AGAIN).get("transformers_weights")
    return weight_files(folder, allow_pickle=True, named=named)


def _read(files: WeightFiles, key: str) -> Tensor:
    with safe_open(files.places[key], framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(key)
    return tensor


def _same_numbers(one: Tensor, other: Tensor) -> bool:
    """Compare without asking what numbers the bytes are, for no NaN equals another."""
    if one.dtype != other.dtype:
        if not (one.is_floating_point() and other.is_floating_point()):
            return False
        coarser = max(one.dtype, other.dtype, key=lambda dtype: torch.finfo(dtype).eps)
        one, other = one.to(coarser), other.to(coarser)
    pair = (t.contiguous().flatten().view(torch.uint8) for t in (one, other))
    return one.shape == other.shape and torch.equal(*pair)
