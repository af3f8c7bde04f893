"""Checking all checkpoints of a command before any forward pass: files, keys, shapes, tokenizers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from finetune.facts import InputError
from finetune.loadable import Source, inspect_checkpoint, require_trial
from finetune.models import adapter_base, is_adapter, load_tokenizer, require_checkpoint, tokenizer_for
from finetune.weight_files import IN_PYTHON, headers

ADAPTER, PICKLED_ADAPTER = "adapter_model.safetensors", "adapter_model.bin"


def require_loadable(base: Source, others: Iterable[Source] = ()) -> None:
    """Refuse a checkpoint that could not be loaded, whole models and adapters alike; no weights are read.

    Adapters among ``others`` belong on ``base``; a ``base`` that is an adapter, on the one that it names.

    Raises:
        InputError: says which checkpoint, why, and what to do.
    """
    whole = adapter_base(base) if is_adapter(base) else base
    for source in dict.fromkeys((whole, base, *others)):
        require_checkpoint(source)
        if is_adapter(source):
            _require_adapter(Path(source))
        else:
            require_trial(inspect_checkpoint(source))
        tokenizer_for(source, whole)


def require_trainable(base: Source) -> None:
    """Refuse a base that could not be loaded, or is no whole model.

    Raises:
        InputError: says why, and what to do.
    """
    require_checkpoint(base)
    require_trial(inspect_checkpoint(base))
    load_tokenizer(base)


def _require_adapter(folder: Path) -> None:
    """Refuse an adapter without readable weights; whether they fit their base is seen at loading."""
    if (folder / ADAPTER).is_file():
        headers([folder / ADAPTER], folder / ADAPTER)
    elif (folder / PICKLED_ADAPTER).is_file():
        raise InputError(
            f"{folder}: its weights are pickled and could run code; save them as safetensors",
            in_python=IN_PYTHON,
        )
    else:
        raise InputError(f"{folder}: holds no {ADAPTER}; save the adapter again")
