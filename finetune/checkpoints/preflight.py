"""Checking all checkpoints of a command before any forward pass: files, keys, shapes, tokenizers."""

from __future__ import annotations

from collections.abc import Iterable

from finetune.checkpoints.adapter_loading import require_adapter_fit
from finetune.checkpoints.inspection import Source, inspect_checkpoint, read_configuration, require_trial
from finetune.checkpoints.loading import (
    adapter_base,
    is_adapter,
    load_tokenizer,
    require_checkpoint,
    tokenizer_for,
)
from finetune.checkpoints.paths import resolve_checkpoint


def require_loadable(base: Source, others: Iterable[Source] = ()) -> None:
    """Refuse a checkpoint that could not be loaded, whole models and adapters alike; no weights are read.

    Adapters among ``others`` belong on ``base``; a ``base`` that is an adapter, on the one that it names.

    Raises:
        InputError: says which checkpoint, why, and what to do.
    """
    whole = adapter_base(base) if is_adapter(base) else base
    for source in map(resolve_checkpoint, dict.fromkeys((whole, base, *others))):
        require_checkpoint(source)
        if is_adapter(source):
            require_adapter_fit(source, read_configuration(resolve_checkpoint(whole)), str(whole))
        else:
            require_trial(inspect_checkpoint(source))
        tokenizer_for(source, whole)


def require_trainable(base: Source) -> None:
    """Refuse a base that could not be loaded, or is no whole model.

    Raises:
        InputError: says why, and what to do.
    """
    base = resolve_checkpoint(base)
    require_checkpoint(base)
    require_trial(inspect_checkpoint(base))
    load_tokenizer(base)
