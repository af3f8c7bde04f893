"""Which tokens are words: the words that tokens are parts of, and the ids that stand for none."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from finetune.data.tokenization import Span


def number_words(text: str, offsets: Sequence[Span], subject: Sequence[bool]) -> list[int]:
    """Number the words that tokens are parts of; what covers no text belongs to none."""
    words, word, before = [], -1, (0, False)
    for (start, end), here in zip(offsets, subject, strict=True):
        apart = text[before[0] : end][:1].isspace() or here != before[1]
        if start < end and (word < 0 or apart):
            word += 1
        words.append(word if start < end else -1)
        before = (end, here) if start < end else before
    return words


def special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """List the ids that stand for no words; an unknown word is a word."""
    added = tokenizer.added_tokens_decoder.items()
    special = {*tokenizer.all_special_ids, *(token_id for token_id, token in added if token.special)}
    edges = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id}
    return sorted(special - ({tokenizer.unk_token_id} - edges))


def stands_alone(character: str) -> bool:
    """Tell whether a character stands by itself; a normaliser may fuse accents or drop joiners."""
    return not character.isspace() and unicodedata.category(character)[0] not in "MC"
