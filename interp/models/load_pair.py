"""Loading a base and a fine-tuned model as TransformerLens bridges, checked against the plain models.

    pair = load_pair("path/to/base", "path/to/adapter")
    with pair.finetuned() as model:      # a TransformerBridge; its forward pass and W_Q..W_O are that side's
        ...

An adapter shares the base's weights (:mod:`interp.models.lora_switch`). Full checkpoints are two copies,
or with ``low_memory`` one at a time. Models given in memory are copied and left as they were:
TransformerLens rewires what it bridges, so the caller's own could not be used afterwards.

Bridges are raw ones: no norm is folded into any weight, so that both sides share the residual's coordinates.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.common.origins import origins_of
from interp.models.adapter_base import base_of, require_named_base
from interp.models.pair import Ask, CheckpointPair
from interp.models.settings import loading_settings
from interp.models.sides import load_sides
from interp.models.sources import (
    Source,
    in_memory,
    is_adapter_source,
    local_source,
    notices,
    resolve_source,
    source_title,
)


def load_pair(
    base: Source | None,
    finetuned: Source | None = None,
    *,
    revision: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    device_map: Any = None,
    low_memory: bool = False,
    lazy: bool = False,
    ask: Ask | None = None,
    allow_pickle: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> CheckpointPair:
    """Load a base and a fine-tuned checkpoint as a pair of checked bridges.

    Args:
        base: a local directory, GGUF file, hub id, name of a shipped model (``smollm2-135m``), or Hugging
            Face model in memory; None for an adapter's own base.
        finetuned: the same, or a LoRA adapter (a directory or a ``PeftModel``); None makes both sides the
            base.
        revision: of hub ids, a branch, tag or commit.
        dtype: ``"float32"`` (the default, whatever the checkpoint holds), ``"bfloat16"``, ``"float16"``.
        device: where to; a GPU if there is one.
        device_map: how to spread over several devices, as in transformers; instead of ``device``.
        low_memory: hold only one of two full checkpoints, loading each again when it is opened.
        lazy: load and check a side only when it is first opened, if it shares no weights with the other.
        ask: is called as ``ask(side, model)`` with each side's plain model, an adapter's unmerged, after it
            is loaded and before it is bridged: what is asked there costs no second loading.
        allow_pickle: load weights that are not safetensors and could run code.
        tokenizer: overrides the checkpoints' own.

    Raises:
        InputError: a source that cannot be loaded safely, is no decoder or does not belong to the base;
            tokenizers that disagree; a bridge that does not compute what its model computes.
    """
    options = loading_settings(dtype, device, device_map, revision, allow_pickle)
    base, finetuned, notice = _resolve(base, finetuned, revision)
    pair = load_sides(base, finetuned, options, tokenizer, low_memory=low_memory, lazy=lazy, ask=ask)
    if notice is not None:
        warnings.warn(notice, stacklevel=2)
    told = ([] if notice is None else [notice]) + notices((base, finetuned), options)
    named = {"base_origin": base, "finetuned_origin": finetuned}
    pair.provenance |= origins_of(
        {name: s for name, s in named.items() if s is not None and not in_memory(s)}
    )
    pair.provenance["notices"] = [*told, *pair.provenance["notices"]]
    return pair


def _resolve(
    base: Source | None, finetuned: Source | None, revision: str | None
) -> tuple[Source, Source | None, str | None]:
    """Return both sources as they are loaded, and a notice where nothing says that they belong together."""
    notice = None
    if finetuned is None and base is not None and is_adapter_source(base := resolve_source(base, revision)):
        base, finetuned = None, base
    finetuned = None if finetuned is None else resolve_source(finetuned, revision)
    if base is not None:
        base = local_source(base)
        if is_adapter_source(base):
            raise InputError(f"{source_title(base)}: is an adapter; name a whole model as the base")
        if finetuned is not None and is_adapter_source(finetuned):
            notice = require_named_base(finetuned, base)
        return resolve_source(base, revision), finetuned, notice
    if finetuned is None or not is_adapter_source(finetuned):
        raise InputError("base is missing: name the checkpoint that the fine-tuning started from")
    return resolve_source(base_of(finetuned)), finetuned, None


def trajectory(
    base: Source | None, run_dir: str | Path, **options: Any
) -> Iterator[tuple[int, CheckpointPair]]:
    """Load a training run's ``checkpoint-*`` directories in order of step, holding one model at a time.

    A pair is closed when the next is asked for. ``options`` are :func:`load_pair`'s.

    Raises:
        InputError: there are no checkpoints in ``run_dir``.
    """
    found = {
        int(match[1]): path
        for path in Path(run_dir).glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and path.is_dir()
    }
    if not found:
        raise InputError(f"{run_dir}: holds no checkpoint-* directories; name a training run's output")
    for step in sorted(found):
        pair = load_pair(base, found[step], low_memory=True, **options)
        try:
            yield step, pair
        finally:
            pair.close()
