"""Tokenization, the one there is: training, evaluation and analysis all take ids and offsets from here.

A prompt is tokenised with the special tokens its tokenizer adds in front (BOS, ``[CLS]``); special
tokens it would add behind (EOS, ``[SEP]``) are cut, because the answer is read at the prompt's last
token. A text that already begins with its BOS gets no second one, and a prompt that a chat template wrote
(``Prompt.rendered``) gets none at all, as in ``apply_chat_template(tokenize=True)``: the template says what
stands in front. A prompt and its answer are tokenised as one text, ``prompt + " " + answer``, and cut where
the prompt ends, so that the answer's tokens are those a model meets in running text. A prompt that ends in
white space or in a special token, as a chat's turn does, is followed by the answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Text = str | Prompt
Span = tuple[int, int]  # half-open, characters

_BATCH = 4096  # texts a call: all encodings at once of a whole data set would take gigabytes


@dataclass(frozen=True, kw_only=True)
class TokenizedText:
    """Token ids of one text with the half-open character range of each (empty for special tokens)."""

    ids: tuple[int, ...]
    offsets: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text]) -> list[TokenizedText]:
    """Tokenise texts, keeping leading and cutting trailing special tokens.

    Raises:
        InputError: the tokenizer is a slow one that reports no character offsets.
    """
    return [
        TokenizedText(ids=tuple(ids), offsets=tuple((int(first), int(last)) for first, last in offsets))
        for ids, offsets in _encode(tokenizer, texts)
    ]


def tokenize_with_answer(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Text],
    answers: Sequence[str],
    alone: Sequence[Sequence[int]] | None = None,
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tokenise each prompt with its answer; return (prompt ids, answer ids) pairs.

    Where a tokenizer would merge across the boundary, the prompt keeps the ids it has on its own.

    Args:
        tokenizer: the model's own fast tokenizer.
        prompts: what the answers stand behind.
        answers: one a prompt.
        alone: the prompts' own ids, where they are known.

    Raises:
        InputError: an answer that tokenises to nothing.
    """
    pairs = answer_ids(tokenizer, prompts, answers, alone)
    for prompt, answer, (_, said) in zip(prompts, answers, pairs, strict=True):
        if not said:
            asked = getattr(prompt, "fact_id", "")
            behind = f" behind the prompt of fact {asked!r}" if asked else ""
            raise InputError(
                f"answer {answer!r}: tokenises to nothing with {type(tokenizer).__name__}{behind}; leave "
                "facts with this answer out"
            )
    return pairs


def answer_ids(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Text],
    answers: Sequence[str],
    alone: Sequence[Sequence[int]] | None = None,
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tokenise as :func:`tokenize_with_answer` does; an answer may come out as no ids.

    Args:
        tokenizer: the model's own fast tokenizer.
        prompts: what the answers stand behind.
        answers: one a prompt.
        alone: the prompts' own ids, where they are known.
    """
    texts = with_answers(tokenizer, prompts, answers)
    own = (ids for ids, _ in _encode(tokenizer, prompts)) if alone is None else map(list, alone)
    joined = _encode(tokenizer, texts, _rendered(prompts))
    pairs = []
    for one, text, prompt, (both, _) in zip(prompts, texts, own, joined, strict=True):
        n = len(prompt)
        if both[:n] == prompt:
            said = both[n:]
        else:
            said = tokenizer(text[len(_text(one)) :], add_special_tokens=False)["input_ids"]
        pairs.append((tuple(prompt), tuple(said)))
    return pairs


def with_answers(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Text], answers: Sequence[str]
) -> list[str]:
    """Join each prompt with its answer as they stand in running text."""
    specials, texts = special_texts(tokenizer), [_text(prompt) for prompt in prompts]
    return [text + gap(text, specials) + answer for text, answer in zip(texts, answers, strict=True)]


def gap(prompt: str, specials: tuple[str, ...] = ()) -> str:
    """Return what stands between a prompt and its answer: a space, or nothing where one would be doubled."""
    return "" if prompt[-1:].isspace() or prompt.endswith(specials) else " "


def special_texts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """List the texts of a tokenizer's special tokens, those of its chat template included."""
    added = (str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple({text for text in (*map(str, tokenizer.all_special_tokens), *added) if text})


def _text(one: Text) -> str:
    return one if isinstance(one, str) else one.text


def _rendered(texts: Sequence[Text]) -> list[bool]:
    return [isinstance(one, Prompt) and one.rendered for one in texts]


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], complete: Sequence[bool] | None = None
) -> Iterator[tuple[list[int], list[Span]]]:
    """Yield ids and offsets, without special tokens added behind and a BOS in front of the text's own.

    ``complete`` says which texts get none in front either; it is the prompts' own ``rendered`` without it.
    """
    if texts and not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {type(tokenizer).__name__} reports no character offsets; use a checkpoint that has "
            "a tokenizer.json, or make one with transformers.convert_slow_tokenizer.convert_slow_tokenizer"
        )
    special = set(tokenizer.all_special_ids)
    complete = _rendered(texts) if complete is None else complete
    for start in range(0, len(texts), _BATCH):
        some = list(
            zip(map(_text, texts[start : start + _BATCH]), complete[start : start + _BATCH], strict=True)
        )
        rows = {
            flag: _rows(tokenizer, [text for text, other in some if other == flag], bare=flag)
            for flag in dict.fromkeys(flag for _, flag in some)
        }
        for _, flag in some:
            ids, offsets = next(rows[flag])
            first, last = _text_tokens(ids, offsets, special)
            yield ids[first:last], offsets[first:last]


def _rows(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], *, bare: bool
) -> Iterator[tuple[list[int], list[Span]]]:
    encoded = tokenizer(
        texts,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        add_special_tokens=not bare,
    )
    return zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)


def _text_tokens(ids: Sequence[int], offsets: Sequence[Span], special: set[int]) -> tuple[int, int]:
    """Return the half-open range of tokens to keep; added special tokens cover no character."""

    def added(at: int) -> bool:
        return ids[at] in special and offsets[at][0] == offsets[at][1]

    end = len(ids)
    while end > 1 and added(end - 1):
        end -= 1
    return int(end > 1 and ids[0] == ids[1] and added(0) and not added(1)), end


def subject_tokens(text: str, offsets: Sequence[Span], spans: Sequence[Span]) -> list[bool]:
    """Return which tokens overlap one of the spans, the space at its edges aside; all are in characters."""
    trimmed = [(start, end) for start, end in (_trim_space(text, span) for span in spans) if start < end]
    return [any(_overlaps(token, span) for span in trimmed) for token in offsets]


def _overlaps(token: Span, subject: Span) -> bool:
    (first, last), (start, end) = token, subject
    if first == last:
        # Offsets that leave the space out give a lone space an empty range, where the next token begins.
        return start < first < end
    return first < end and start < last


def _trim_space(text: str, span: Span) -> Span:
    """Shorten a span by the space at its edges; nothing is left of an invisible one."""
    start, end = span
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return start, start + len(inner.strip())


def end_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids at which an answer ends: the tokenizer's EOS and those that the model itself names.

    A chat model names several. A tokenizer that several checkpoints share
    (:mod:`finetune.checkpoints.shared_tokenizer`) also knows the others' EOS. ``model`` is a model of
    transformers or a bridge around one.
    """
    plain = getattr(model, "original_model", model)
    named = getattr(getattr(plain, "generation_config", None), "eos_token_id", None)
    own = named if isinstance(named, list | tuple) else [named]
    others = getattr(tokenizer, "others_ends", ())
    return frozenset(int(each) for each in (tokenizer.eos_token_id, *own, *others) if each is not None)
