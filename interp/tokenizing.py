"""The one tokenizer of a pair: each side's own, if they agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.facts import InputError
from finetune.models import load_tokenizer
from interp.sources import Settings, Source, in_memory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE_TEXTS = (
    "The capital of France is",
    "What is George Rankin's occupation?",
    "  Zoë (東京) said: \u201cit's 1,984 e\u0301 \U0001f600\u201d",
)


def tokenizer_of(source: Source, options: Settings) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer that a source brings along; None if it brings none."""
    if in_memory(source):
        place = str(getattr(source, "name_or_path", "") or "")
        return tokenizer_of(place, options) if place and Path(place).is_dir() else None
    files = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json")
    if Path(source).is_dir() and not any((Path(source) / name).is_file() for name in files):
        return None
    return load_tokenizer(source, revision=None if Path(source).is_dir() else options.revision)


def agreed(
    base: PreTrainedTokenizerBase | None, finetuned: PreTrainedTokenizerBase | None, names: Sequence[str]
) -> PreTrainedTokenizerBase:
    """Return the one tokenizer of a pair.

    A fine-tuned model may have gained special tokens, such as padding; on text, both must give the same ids.

    Raises:
        InputError: there is none, or the two disagree.
    """
    one = base or finetuned
    if one is None:
        raise InputError(f"{names[0]}: brings no tokenizer; pass tokenizer=")
    if base is None or finetuned is None:
        return one
    first, second = base.get_vocab(), finetuned.get_vocab()
    moved = sorted(t for t in first.keys() & second.keys() if first[t] != second[t])
    only = (first.keys() ^ second.keys()) - set(base.all_special_tokens) - set(finetuned.all_special_tokens)
    texts = [text for text in PROBE_TEXTS if base(text)["input_ids"] != finetuned(text)["input_ids"]]
    if moved or only or texts:
        example = moved or sorted(only) or texts
        raise InputError(
            f"{names[0]} and {names[1]}: their tokenizers disagree (for example on {example[0]!r}), so their "
            "facts cannot be compared token by token; pass the right one as tokenizer="
        )
    return one
