"""The one tokenisation: training, evaluation and analysis all take ids and offsets from here.

A prompt is tokenised with the special tokens its tokenizer adds in front (BOS, ``[CLS]``); special
tokens it would add behind (EOS, ``[SEP]``) are cut, because the answer is read at the prompt's last
token. A text that already begins with its BOS, as a rendered chat template does, gets no second one. A
prompt and its answer are tokenised as one text, ``prompt + " " + answer``, and cut where the
prompt ends, so that the answer's tokens are those a model meets in running text. A prompt that ends in white
space or in a special token, as a chat's turn does, is followed by the answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.facts import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_BATCH = 4096  # texts a call: all encodings at once of a whole data set would take gigabytes


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
    return [
        Tokens(ids=tuple(ids), offsets=tuple((int(first), int(last)) for first, last in offsets))
        for ids, offsets in _encoded(tokenizer, texts)
    ]


def tokenize_with_answer(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], answers: Sequence[str]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tokenise each prompt with its answer; return (prompt ids, answer ids) pairs.

    Where a tokenizer would merge across the boundary, the prompt keeps the ids it has on its own.

    Raises:
        InputError: an answer that tokenises to nothing.
    """
    pairs = answer_ids(tokenizer, prompts, answers)
    for answer, (_, said) in zip(answers, pairs, strict=True):
        if not said:
            raise InputError(f"answer {answer!r} tokenises to nothing with {type(tokenizer).__name__}")
    return pairs


def answer_ids(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], answers: Sequence[str]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tokenise as :func:`tokenize_with_answer` does; an answer may come out as no ids."""
    specials = special_texts(tokenizer)
    gaps = [gap(prompt, specials) for prompt in prompts]
    alone = _encoded(tokenizer, prompts)
    joined = _encoded(tokenizer, [p + g + a for p, g, a in zip(prompts, gaps, answers, strict=True)])
    pairs = []
    for (prompt, _), (both, _), between, answer in zip(alone, joined, gaps, answers, strict=True):
        n = len(prompt)
        if both[:n] == prompt:
            said = both[n:]
        else:
            said = tokenizer(between + answer, add_special_tokens=False)["input_ids"]
        pairs.append((tuple(prompt), tuple(said)))
    return pairs


def gap(prompt: str, specials: tuple[str, ...] = ()) -> str:
    """Return what stands between a prompt and its answer: a space, or nothing where one would be doubled."""
    return "" if prompt[-1:].isspace() or prompt.endswith(specials) else " "


def special_texts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """List the texts of a tokenizer's special tokens, those of its chat template included."""
    added = (str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple({text for text in (*map(str, tokenizer.all_special_tokens), *added) if text})


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
    """Yield ids and offsets, without special tokens added behind and a BOS in front of the text's own."""
    if texts and not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {type(tokenizer).__name__} reports no character offsets; use a checkpoint that has "
            "a tokenizer.json, or make one with transformers.convert_slow_tokenizer.convert_slow_tokenizer"
        )
    special = set(tokenizer.all_special_ids)
    for start in range(0, len(texts), _BATCH):
        encoded = tokenizer(
            list(texts[start : start + _BATCH]),
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            add_special_tokens=True,
        )
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            first, last = _own(ids, offsets, special)
            yield ids[first:last], offsets[first:last]


def _own(ids: Sequence[int], offsets: Sequence[tuple[int, int]], special: set[int]) -> tuple[int, int]:
    """Return the half-open range of tokens to keep; added special tokens cover no character."""

    def added(at: int) -> bool:
        return ids[at] in special and offsets[at][0] == offsets[at][1]

    end = len(ids)
    while end > 1 and added(end - 1):
        end -= 1
    return int(end > 1 and ids[0] == ids[1] and added(0) and not added(1)), end
