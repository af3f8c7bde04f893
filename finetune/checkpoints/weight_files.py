"""Weight files of a checkpoint, and what their headers say, without reading the weights.

Only safetensors are data alone. Pickled files could run code, and are looked for only where that is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from finetune.checkpoints.configs import COPY_AGAIN
from finetune.common.errors import InputError
from finetune.common.messages import one_line
from finetune.common.text_files import read_json_object

SAFE, SAFE_INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
IN_PYTHON = ", or pass allow_pickle=True if you trust it"
LFS_POINTER = b"version https://git-lfs"
PIECE = 2**24  # weights that are read at once: 64 MiB in float32
_SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """The files of a checkpoint's weights; ``shapes`` and ``places`` by key, empty where pickled."""

    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    places: Mapping[str, Path]
    pickled: bool = False


def weight_files(folder: Path, *, allow_pickle: bool = False, named: object = None) -> WeightFiles:
    """Find the weight files of a local checkpoint and read their headers.

    ``named`` is the file that its configuration names instead of the usual ones.

    Raises:
        InputError: there are none, or pickled ones only; one is damaged or missing, or named by a path that
            leads elsewhere; two hold the same tensor.
    """
    if named is not None:
        return _weights_named_in_config(folder, named)
    single, index = folder / SAFE, folder / SAFE_INDEX
    if index.is_file():
        listed = _read_index(index, (".safetensors",))
        if single.is_file() and set(listed.values()) != {SAFE}:
            raise InputError(
                f"{folder}: holds two sets of weights, {SAFE} and those that {SAFE_INDEX} lists; remove the "
                "one that is not meant"
            )
        return read_headers(_shards(index, listed), index, listed)
    if single.is_file():
        return read_headers([single], single)
    if allow_pickle:
        if (folder / PICKLED).is_file():
            return WeightFiles(files=(folder / PICKLED,), shapes={}, places={}, pickled=True)
        if (index := folder / PICKLED_INDEX).is_file():
            shards = _shards(index, _read_index(index, (".bin", ".safetensors")))
            return WeightFiles(files=tuple(shards), shapes={}, places={}, pickled=True)
    raise _no_weights(folder)


def read_headers(files: Sequence[Path], told: Path, listed: Mapping[str, str] | None = None) -> WeightFiles:
    """Read the keys and shapes of safetensors files; ``listed`` is what an index says of each key.

    Raises:
        InputError: a file is damaged, two hold one key, or one lacks a key that the index gives it.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    places: dict[str, Path] = {}
    for file in files:
        for key, shape in _header(file).items():
            if key in places:
                raise InputError(
                    f"{told}: both {places[key].name} and {file.name} hold {key}, so which one counts cannot "
                    "be told; save the model again"
                )
            shapes[key], places[key] = shape, file
    wrong = [k for k, name in (listed or {}).items() if k not in places or places[k].name != _last(name)]
    if wrong:
        raise InputError(
            f"{told}: says that {_last((listed or {})[wrong[0]])} holds {first_keys(wrong)}, and it does "
            "not; copy the index and all shards again, or save the model again"
        )
    if not shapes:
        raise InputError(f"{told}: holds no tensors; save the model again, or copy all of its files")
    return WeightFiles(files=tuple(files), shapes=shapes, places=places)


def first_keys(keys: Sequence[str], most: int = 3) -> str:
    """Name the first three of some keys, and how many there are."""
    shown = ", ".join(key[:120] for key in keys[:most])
    return shown if len(keys) <= most else f"{shown} and {len(keys) - most} more"


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    try:
        with safe_open(file, framework="pt") as held:
            return {key: tuple(held.get_slice(key).get_shape()) for key in held.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors' own class, or the system's
        raise InputError(f"{file}: {_damage(file, error)}") from error


def _damage(file: Path, error: Exception) -> str:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(len(LFS_POINTER))
    except OSError as fault:
        return f"cannot be read ({fault.strerror}); check that it is there and that you may read it"
    if not size:
        return "is empty; copy or download it again"
    if start == LFS_POINTER:
        return "is a git-lfs pointer, not the weights; run `git lfs pull` there, or download the file itself"
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "is pickled, whatever its name says; save the model as safetensors"
    return f"is truncated, or no safetensors file ({one_line(error, 100)}); copy or download it again"


def _read_index(index: Path, endings: tuple[str, ...]) -> dict[str, str]:
    """Read where an index says that each key is."""
    held = read_json_object(index, remedy=COPY_AGAIN).get("weight_map")
    if not isinstance(held, dict) or not held:
        raise InputError(f"{index}: has no weight_map of keys to files; copy the index again")
    for name in held.values():
        _require_inside(index, name, endings)
    return held


def _shards(index: Path, listed: Mapping[str, str]) -> list[Path]:
    files = [index.parent / name for name in sorted(set(listed.values()))]
    if gone := [file.name for file in files if not file.is_file()]:
        raise InputError(
            f"{index.parent}: the shard {first_keys(gone)} ({len(gone)} of {len(files)}) is missing; copy or "
            "download it as well"
        )
    return files


def _require_inside(told: Path, name: Any, endings: tuple[str, ...]) -> None:
    """Refuse a name of a file that leads out of the directory, or to a file of another kind.

    A link that lies in the directory may lead out: the hub's cache is made of such.
    """
    shown = repr(name)[:80]
    path = PurePosixPath(name) if isinstance(name, str) else None
    if path is None or not name or path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0"):
        raise InputError(f"{told}: names the file {shown}, outside of the checkpoint; copy the index again")
    if path.suffix not in endings:
        remedy = "convert the weights to safetensors"
        raise InputError(
            f"{told}: names the file {shown}, which is no safetensors file and could run code; {remedy}"
        )


def _weights_named_in_config(folder: Path, named: object) -> WeightFiles:
    """Find the weights where a configuration names their file (``transformers_weights``)."""
    told = folder / "config.json"
    _require_inside(told, named, (".safetensors", ".json"))
    path = folder / str(named)
    if not path.is_file():
        raise InputError(f"{told}: names the weights {path.name}, which are missing; copy them as well")
    if path.suffix == ".safetensors":
        return read_headers([path], path)
    listed = _read_index(path, (".safetensors",))
    return read_headers(_shards(path, listed), path, listed)


def _no_weights(folder: Path) -> InputError:
    """Say what a directory holds instead of safetensors, and what to do about it."""
    names = sorted(path.name for path in folder.iterdir())
    shards = [name for name in names if _SHARD.fullmatch(name)]
    if shards:
        return InputError(f"{folder}: holds shards but no {SAFE_INDEX}; copy the index as well")
    if any(name in (PICKLED, PICKLED_INDEX) or name.startswith("pytorch_model-") for name in names):
        said = f"{folder}: its weights are pickled and could run code; convert it to safetensors"
        return InputError(said, in_python=IN_PYTHON)
    for ending, kind in {
        ".gguf": "a GGUF file; name the file itself",
        ".distcp": "a distributed checkpoint; merge it (`accelerate merge-weights`)",
        ".pth": "PyTorch weights of another layout; convert them with the model's script in transformers",
        ".h5": "TensorFlow weights; convert them to safetensors",
        ".msgpack": "Flax weights; convert them to safetensors",
        ".safetensors": "safetensors under another name; save the model with save_pretrained",
    }.items():
        if found := [name for name in names if name.endswith(ending)]:
            return InputError(f"{folder}: holds no {SAFE}, but {found[0]}, {kind}")
    return InputError(f"{folder}: holds no weights ({SAFE}); copy them as well, or save the model again")


def _last(name: str) -> str:
    return PurePosixPath(name).name
