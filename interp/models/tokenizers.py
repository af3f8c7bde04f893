"""The one tokenizer of a base and its fine-tunings, from what each checkpoint brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from finetune.checkpoints.loading import brings_tokenizer, load_tokenizer
from finetune.checkpoints.shared_tokenizer import Side, limit_vocabulary, shared_tokenizer
from finetune.common.errors import InputError
from finetune.common.messages import quote
from interp.models.settings import LoadingSettings
from interp.models.sources import Source, config_of, in_memory, is_adapter_source, source_title


def tokenizer_of(source: Source, options: LoadingSettings) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer that a source brings along; None if it brings none."""
    if in_memory(source):
        place = str(getattr(source, "name_or_path", "") or "")
        return tokenizer_of(place, options) if place and Path(place).is_dir() else None
    if not brings_tokenizer(source):
        return None
    return load_tokenizer(source, revision=None if Path(source).is_dir() else options.revision)


def side_of(source: Source, options: LoadingSettings, base: Source | None = None) -> Side:
    """Describe a checkpoint's tokenizer and embeddings, without its weights; an adapter's are its base's."""
    return Side(source_title(source), tokenizer_of(source, options), embeddings_of(source, options, base))


def embeddings_of(source: Source, options: LoadingSettings, base: Source | None = None) -> int | None:
    """Return how many embeddings a checkpoint has, by its configuration; None if that does not say.

    Raises:
        InputError: see :func:`interp.models.sources.config_of`.
    """
    if in_memory(source):
        weight = getattr(source.get_input_embeddings(), "weight", None)
        return None if weight is None else int(weight.shape[0])
    if is_adapter_source(source):
        return None if base is None else embeddings_of(base, options)
    size = getattr(config_of(source, options).get_text_config(), "vocab_size", None)
    return size if isinstance(size, int) else None


def common_tokenizer(
    base: Source,
    others: Sequence[Source],
    options: LoadingSettings,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> PreTrainedTokenizerBase:
    """Return the one tokenizer of a base and its fine-tunings: ``tokenizer`` itself, or one of theirs.

    See :mod:`finetune.checkpoints.shared_tokenizer`.

    Args:
        base: what the others were fine-tuned from.
        others: full checkpoints or adapters of that base.
        options: how checkpoints are loaded.
        tokenizer: the user's own, which overrides theirs.

    Raises:
        InputError: there is none, two read plain text as other tokens, or the user's own is no tokenizer.
    """
    if tokenizer is not None:
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise InputError(
                f"tokenizer = {quote(tokenizer)}: give a tokenizer, as AutoTokenizer.from_pretrained loads it"
            )
        sides = [Side(source_title(one), None, embeddings_of(one, options, base)) for one in (base, *others)]
        return limit_vocabulary(tokenizer, sides)
    return shared_tokenizer([side_of(base, options), *(side_of(one, options, base) for one in others)])


def require_vocabulary(tokenizer: PreTrainedTokenizerBase, embeddings: int, name: str) -> None:
    """Refuse a tokenizer whose words go beyond a model's embeddings; added tokens may, and are set aside.

    Raises:
        InputError: says how many ids and embeddings there are.
    """
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    words = max((i for token, i in tokenizer.get_vocab().items() if token not in added), default=-1) + 1
    if words > embeddings:
        raise InputError(
            f"{name}: its tokenizer has {words} ids and the model {embeddings} embeddings; "
            "name the tokenizer that the model was trained with"
        )
