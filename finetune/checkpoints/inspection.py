"""Looking at checkpoints before anything is computed: files, configuration, keys, shapes and tokenizer.

Reads headers only, so it takes a fraction of a second for a model of any size. What was found is kept until a
file changes, so that loading does not look a second time.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_utils import _get_resolved_checkpoint_files
from transformers.utils import cached_file

from finetune.checkpoints.configs import COPY_AGAIN, configuration_from
from finetune.checkpoints.key_messages import Fit, prefix_notice
from finetune.checkpoints.weight_files import SAFE, WeightFiles, read_headers, weight_files
from finetune.checkpoints.weight_keys import require_fit, run_without_contents
from finetune.common.errors import InputError
from finetune.common.hub import loading_error, use_cache_if_unreachable
from finetune.common.text_files import read_json_object

Source = str | Path
Signature = tuple[tuple[str, int, int, int], ...]
_LOOKED_AT = (".json", ".safetensors", ".bin", ".gguf")


@dataclass(frozen=True, kw_only=True)
class CheckpointLayout:
    """A full checkpoint that can be loaded: its files, and by which name each of its keys is.

    It is shared by all who ask for it: whoever changes ``config`` or ``model`` takes a copy.
    ``notices`` tell what was put right. ``renamed`` is empty where the headers say nothing (pickled or
    quantised weights); then there is no ``model`` either, which has shapes and no contents. ``text`` is
    config.json's.
    """

    source: str
    config: PreTrainedConfig
    files: WeightFiles
    renamed: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    model: PreTrainedModel | None = None
    text: str = ""


def inspect_checkpoint(
    source: Source, *, revision: str | None = None, allow_pickle: bool = False
) -> CheckpointLayout:
    """Look at a full checkpoint's configuration and the headers of its weights.

    Of a hub id the files are fetched first.

    Raises:
        InputError: it cannot be loaded, or its tensors do not fill its model; the line says which and why.
    """
    place = _place(source, revision)
    return _inspect_files(str(source), place, revision, allow_pickle, _signature(place))


def require_trial(found: CheckpointLayout) -> bool:
    """Run a checkpoint's model on two tokens, without contents; False where that cannot be told.

    Raises:
        InputError: one layer's sizes do not fit the next one's.
    """
    return found.model is not None and run_without_contents(found.source, found.model)


def read_configuration(source: Source, *, revision: str | None = None) -> PreTrainedConfig:
    """Read a full checkpoint's configuration, without what asks for code.

    Raises:
        InputError: it is missing or malformed, or a hub id cannot be reached.
    """
    place = _place(source, revision)
    return copy.deepcopy(_configuration(str(source), place, _signature(place)))


@lru_cache(maxsize=64)
def _configuration(source: str, place: Path, signature: Signature) -> PreTrainedConfig:
    config = configuration_from(source, place / "config.json")
    config.name_or_path = source
    if not Path(source).is_dir():
        config._commit_hash = place.name  # the cache has a directory for each commit
    return config


@lru_cache(maxsize=64)
def _inspect_files(
    source: str, place: Path, revision: str | None, allow_pickle: bool, signature: Signature
) -> CheckpointLayout:
    config = _configuration(source, place, signature)
    if Path(source).is_dir():
        folder = Path(source)
        named = read_json_object(folder / "config.json", remedy=COPY_AGAIN).get("transformers_weights")
        files = weight_files(folder, allow_pickle=allow_pickle, named=named)
    else:
        files = _hub_files(source, revision, allow_pickle)
    text = (place / "config.json").read_text(encoding="utf-8")
    empty = CheckpointLayout(source=source, config=config, files=files, text=text)
    return empty if files.pickled else match_files(empty, files)


def match_files(found: CheckpointLayout, files: WeightFiles) -> CheckpointLayout:
    """Judge how files whose shapes are known fill the model.

    Raises:
        InputError: they do not.
    """
    # How quantised weights are laid out is their library's matter; it reports what it cannot place.
    if getattr(found.config, "quantization_config", None):
        return replace(found, files=files)
    shapes = tuple(files.shapes.items())
    renamed, fit = _match_cached(_Content(text=found.text, shapes=shapes, config=found.config, files=files))
    told = prefix_notice(renamed)
    notices = (f"{found.source}: {told}",) if told else ()
    return replace(found, files=files, renamed=renamed, notices=notices, model=fit.model)


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What decides whether tensors fit: a base and what was fine-tuned from it have the same."""

    text: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    config: PreTrainedConfig = field(compare=False)
    files: WeightFiles = field(compare=False)


@lru_cache(maxsize=16)
def _match_cached(content: _Content) -> tuple[dict[str, str], Fit]:
    return require_fit(content.config, content.files)


def _signature(folder: Path) -> Signature:
    """Say which files there are, so that a changed checkpoint is looked at anew."""
    if not folder.is_dir():
        return ()
    try:
        found = [(path, path.stat()) for path in sorted(folder.iterdir()) if path.suffix in _LOOKED_AT]
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); check that its files are there and may be read"
        ) from error
    return tuple((str(path), s.st_size, s.st_mtime_ns, s.st_ino) for path, s in found)


def _place(source: Source, revision: str | None) -> Path:
    """Return the directory of a checkpoint: itself, or where the hub's cache has its configuration."""
    if Path(source).is_dir():
        if not (Path(source) / "config.json").is_file():
            raise InputError(
                f"{source}: holds no config.json, so it is no whole model; name one (for an adapter, "
                "its base)"
            )
        return Path(source)
    use_cache_if_unreachable()
    try:
        return Path(str(cached_file(str(source), "config.json", revision=revision or "main"))).parent
    except (OSError, ValueError) as error:
        raise InputError(loading_error(source, error)) from error


def _hub_files(source: str, revision: str | None, allow_pickle: bool) -> WeightFiles:
    """Fetch the weights of a hub id, as transformers finds them there, or take them from the cache."""
    options: Any = {"revision": revision or "main"}
    try:
        found, _ = _get_resolved_checkpoint_files(
            pretrained_model_name_or_path=source,
            variant=None,
            gguf_file=None,
            use_safetensors=None if allow_pickle else True,
            user_agent={},
            is_remote_code=False,
            download_kwargs=options,
        )
    except Exception as error:  # whatever the network's libraries raise
        raise InputError(loading_error(source, error)) from error
    paths = [Path(file) for file in found or ()]
    if all(path.suffix == ".safetensors" for path in paths):
        return read_headers(paths, Path(source) / SAFE)
    if not allow_pickle:
        raise InputError(
            f"{source}: its weights are not all safetensors and could run code; name another model"
        )
    return WeightFiles(files=tuple(paths), shapes={}, places={}, pickled=True)
