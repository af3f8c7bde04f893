"""The one tokenisation: training, evaluation and analysis all take ids and offsets from here.

A prompt is tokenised with the special tokens its tokenizer adds in front (BOS, ``[CLS]``); special
tokens it would add behind (EOS, ``[SEP]``) are cut, because the answer is read at the prompt's last
token. A text that already begins with its BOS, as a rendered chat template does, gets no second one. A
prompt and its answer are tokenised as one text, ``prompt + " " + answer``, and cut where the
prompt ends, so that the answer's tokens are those a model meets in running text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.facts import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of one text with the half-open character range of each (empty for special tokens)."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Tokens]:
    """Tokenise texts, keeping leading and cutting trailing special tokens.

    Raises:
        InputError: the tokenizer is a slow one that reports no character offsets.
    """
    if not texts:
        return []
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {type(tokenizer).__name__} reports no character offsets; use a checkpoint that has "
            "a tokenizer.json, or make one with transformers.convert_slow_tokenizer.convert_slow_tokenizer"
        )
    encoded = tokenizer(list(texts), return_offsets_mapping=True, add_special_tokens=True)
    rows = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    special = set(tokenizer.all_special_ids)
    return [_cut_specials(ids, offsets, special) for ids, offsets in rows]


def tokenize_with_answer(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], answers: Sequence[str]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tokenise each prompt with its answer; return (prompt ids, answer ids) pairs.

    Where a tokenizer would merge across the boundary, the prompt keeps the ids it has on its own.

    Raises:
        InputError: an answer that tokenises to nothing.
    """
    alone = tokenize(tokenizer, prompts)
    joined = tokenize(tokenizer, [f"{p} {a}" for p, a in zip(prompts, answers, strict=True)])
    pairs = []
    for prompt, both, answer in zip(alone, joined, answers, strict=True):
        n = len(prompt)
        tail = both.ids[n:] if both.ids[:n] == prompt.ids else _answer_alone(tokenizer, answer)
        if not tail:
            raise InputError(f"answer {answer!r} tokenises to nothing with {type(tokenizer).__name__}")
        pairs.append((prompt.ids, tail))
    return pairs


def _answer_alone(tokenizer: PreTrainedTokenizerBase, answer: str) -> tuple[int, ...]:
    return tuple(tokenizer(f" {answer}", add_special_tokens=False)["input_ids"])


def _cut_specials(ids: list[int], offsets: list[tuple[int, int]], special: set[int]) -> Tokens:
    """Cut special tokens that the tokenizer added behind, and a BOS in front of the text's own."""
    added = [token in special and start == end for token, (start, end) in zip(ids, offsets, strict=True)]
    end = len(ids)
    while end > 1 and added[end - 1]:
        end -= 1
    start = int(end > 1 and added[0] and not added[1] and ids[0] == ids[1])
    return Tokens(ids=tuple(ids[start:end]), offsets=tuple((int(a), int(b)) for a, b in offsets[start:end]))
