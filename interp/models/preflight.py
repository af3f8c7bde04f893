"""Checking that checkpoints can be loaded and measured before any of them is asked anything."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.checkpoints.inspection import read_configuration
from finetune.checkpoints.loading import Source, adapter_base, is_adapter, load_tokenizer
from finetune.checkpoints.paths import resolve_checkpoint
from finetune.checkpoints.preflight import require_loadable
from finetune.common.errors import InputError
from interp.models.sources import require_measurable_kind
from interp.models.tokenizers import require_vocabulary


def require_measurable(base: Source, finetuned: Sequence[Source] = ()) -> None:
    """Refuse checkpoints that could not be loaded as hooked models; no weights are read.

    Raises:
        InputError: a checkpoint cannot be loaded, is no decoder that TransformerLens has an adapter for, or
            has a tokenizer with more words than embeddings; or the base of fine-tuned ones is an adapter.
    """
    if finetuned and is_adapter(base):
        raise InputError(f"{base}: is an adapter; name a whole model as the base")
    require_loadable(base, finetuned)
    whole = adapter_base(base) if is_adapter(base) else base
    for source in map(resolve_checkpoint, (whole, *finetuned)):
        if not is_adapter(source):
            require_measurable_kind(read_configuration(source), str(source))
    embeddings = read_configuration(resolve_checkpoint(whole)).get_text_config().vocab_size
    require_vocabulary(load_tokenizer(whole), embeddings, str(whole))
