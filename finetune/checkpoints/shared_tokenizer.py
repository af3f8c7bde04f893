"""One tokenizer for several checkpoints: a base and its fine-tunings, which may have tokens of their own.

    tokenizer = shared_tokenizer([Side("base", its_tokenizer, 32_000), Side("mine", its_tokenizer, 32_002)])
    reasons = unreadable_texts(tokenizer, texts)      # which texts some side cannot be asked, and why

1. The side whose tokenizer knows most tokens, padding aside, serves all; of equals the base. Chat template
   and end of sequence are a fine-tuned side's where one has its own.
2. Another side reads a text as the serving one does if its own tokenizer gives the same ids.
3. It also does if the ids differ only by added tokens that its tokenizer lacks, and its embeddings have rows
   for them that stand for no word of its own (resized, or reserved from the start).
4. Any other text is unreadable for that side: it would be asked another prompt, or has no embedding for one.

Tokenizers that differ in plain text (another vocabulary, BOS switched off, lower case) are refused at once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.data.tokenization import Text, TokenizedText, tokenize, with_answers

PLAIN = ("The capital of France is", "What is George Rankin's occupation?")


@dataclass(frozen=True, eq=False)
class Side:
    """One checkpoint: its name, its tokenizer if it brings one, its number of embeddings if that is known."""

    name: str
    tokenizer: PreTrainedTokenizerBase | None
    embeddings: int | None = None

    @cached_property
    def added(self) -> dict[str, int]:
        """The tokens that stand beside the vocabulary proper, by their text."""
        return {str(token): i for i, token in _tokenizer_of(self).added_tokens_decoder.items()}

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """All tokens by their text."""
        return {**_tokenizer_of(self).get_vocab(), **self.added}

    @cached_property
    def words(self) -> dict[str, int]:
        """The vocabulary proper."""
        return {token: i for token, i in self.vocabulary.items() if token not in self.added}

    @cached_property
    def word_ids(self) -> frozenset[int]:
        """The ids of the vocabulary proper."""
        return frozenset(self.words.values())


@dataclass(frozen=True, eq=False)
class Readings:
    """What a shared tokenizer knows of the sides: found on it as ``readings``."""

    serving: Side
    sides: tuple[Side, ...]

    def __deepcopy__(self, memo: dict[int, Any]) -> Readings:
        """Share the sides' tokenizers, which nobody changes, between copies of the one that serves."""
        return self


def shared_tokenizer(sides: Sequence[Side]) -> PreTrainedTokenizerBase:
    """Return the one tokenizer of several checkpoints, the base first.

    It is the base's own where all agree in everything, else a copy of one of them that
    :func:`unreadable_texts` can ask about texts.

    Raises:
        InputError: no side brings a tokenizer, or two read plain text as other tokens.
    """
    own = [side for side in sides if side.tokenizer is not None]
    if not own:
        raise InputError(f"{sides[0].name}: brings no tokenizer; pass tokenizer=")
    first = own[0]
    different = [side for side in own[1:] if not _are_equal(_tokenizer_of(first), _tokenizer_of(side))]
    for side in different:
        _require_agreement(first, side)
    if not different:
        return limit_vocabulary(_tokenizer_of(first), sides)
    padding = _padding([_tokenizer_of(side) for side in own])
    serving = max((first, *different), key=lambda side: len(side.vocabulary.keys() - padding))
    shared = copy.deepcopy(_tokenizer_of(serving))
    tuned_first = [_tokenizer_of(side) for side in (*different, first)]
    shared.chat_template = next((t.chat_template for t in tuned_first if t.chat_template), None)
    ends = [str(t.eos_token) for t in tuned_first if t.eos_token is not None]
    if known := [end for end in ends if end in serving.vocabulary]:
        shared.eos_token = known[0]
    return _with_readings(shared, Readings(serving=serving, sides=tuple(sides)))


def limit_vocabulary(tokenizer: PreTrainedTokenizerBase, sides: Sequence[Side]) -> PreTrainedTokenizerBase:
    """Return a tokenizer that all sides use: itself, or a copy that knows which ids have no embedding."""
    largest = max(tokenizer.get_vocab().values(), default=0)
    if hasattr(tokenizer, "readings") or all(largest < (side.embeddings or largest + 1) for side in sides):
        return tokenizer
    serving = Side("", tokenizer)
    bare = tuple(Side(side.name, None, side.embeddings) for side in sides)
    return _with_readings(copy.deepcopy(tokenizer), Readings(serving=serving, sides=bare))


def unreadable_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text]) -> dict[int, str]:
    """Say which texts a side of a shared tokenizer cannot be asked, and why; none for any other tokenizer."""
    readings: Readings | None = getattr(tokenizer, "readings", None)
    if readings is None or not texts:
        return {}
    reasons: dict[int, str] = {}
    rows = tokenize(tokenizer, texts)
    for side in readings.sides:
        theirs = rows
        if side.tokenizer is not None and side is not readings.serving:
            theirs = tokenize(side.tokenizer, texts)
        for i, (text, tokens, other) in enumerate(zip(texts, rows, theirs, strict=True)):
            if i not in reasons and (reason := _disagreement(side, readings.serving, text, tokens, other)):
                reasons[i] = reason
    return reasons


def unreadable_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> dict[int, str]:
    """Say as :func:`unreadable_texts` does which prompts cannot be asked, or not be answered as is right."""
    answered = [i for i, prompt in enumerate(prompts) if prompt.answers]
    if not hasattr(tokenizer, "readings"):
        return {}
    some = [prompts[i] for i in answered]
    whole = with_answers(tokenizer, some, [prompt.answers[0] for prompt in some])
    texts = [replace(prompt, text=text) for prompt, text in zip(some, whole, strict=True)]
    found = unreadable_texts(tokenizer, [*prompts, *texts])
    behind = {answered[i - len(prompts)]: why for i, why in found.items() if i >= len(prompts)}
    return {**behind, **{i: why for i, why in found.items() if i < len(prompts)}}


def masked_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id that fills masked positions: the padding's, if every side has an embedding for it."""
    pad = tokenizer.pad_token_id or 0
    readings: Readings | None = getattr(tokenizer, "readings", None)
    sizes = [side.embeddings for side in readings.sides if side.embeddings] if readings else []
    return pad if pad < min(sizes, default=pad + 1) else 0


def _with_readings(tokenizer: PreTrainedTokenizerBase, readings: Readings) -> PreTrainedTokenizerBase:
    own = [side.tokenizer for side in readings.sides if side.tokenizer is not None]
    held: Any = tokenizer
    held.readings = readings
    held.others_ends = frozenset(one.eos_token_id for one in own if one.eos_token_id is not None)
    return tokenizer


def _tokenizer_of(side: Side) -> PreTrainedTokenizerBase:
    assert side.tokenizer is not None
    return side.tokenizer


def _padding(tokenizers: Sequence[PreTrainedTokenizerBase]) -> set[str]:
    """List the tokens that only pad, so that they stand in no text."""
    others = {str(name) for t in tokenizers for name in (t.bos_token, t.eos_token, t.unk_token)}
    return {str(t.pad_token) for t in tokenizers} - others


def _are_equal(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Tell whether two tokenizers differ in nothing that is measured."""
    return one is other or _tokenizer_state(one) == _tokenizer_state(other)


def _tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, ...]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    names = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    return (*names, tokenizer.chat_template, tokenizer.get_vocab() if backend is None else backend.to_str())


def _require_agreement(base: Side, other: Side) -> None:
    """Refuse two tokenizers that do not read plain text alike, whatever they have added."""
    numbers = sorted(t for t in base.words.keys() & other.words.keys() if base.words[t] != other.words[t])
    known = {i: token for token, i in base.words.items()}
    renamed = sorted(t for t, i in other.words.items() if known.get(i, t) != t)
    texts = [text for text in PLAIN if _ids(base, text) != _ids(other, text)]
    if not (numbers or renamed or texts):
        return
    example = repr((texts or numbers or renamed)[0])
    if texts:
        one, two = (_tokenizer_of(side).convert_ids_to_tokens(_ids(side, texts[0])) for side in (base, other))
        at = next(
            (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
        )
        example += f": {(*one, 'nothing')[at]!r} here, {(*two, 'nothing')[at]!r} there"
    raise InputError(
        f"{base.name} and {other.name}: their tokenizers disagree (for example on {example}), so their "
        "facts cannot be compared token by token; pass the right one as tokenizer=, or put its files into "
        "both directories"
    )


def _ids(side: Side, text: str) -> list[int]:
    return list(tokenize(_tokenizer_of(side), [text])[0].ids)


def _disagreement(
    side: Side, serving: Side, text: Text, tokens: TokenizedText, other: TokenizedText
) -> str | None:
    """Say why a side cannot read a text as the serving tokenizer does; None if it can."""
    for i in tokens.ids:
        if side.embeddings is not None and i >= side.embeddings:
            token = _tokenizer_of(serving).convert_ids_to_tokens(i)
            return f"{side.name} has no embedding for its token {token!r} (id {i})"
    if tokens.ids == other.ids:
        return None
    added = serving.added.items()
    lacking = {i for token, i in added if token not in side.vocabulary and i not in side.word_ids}
    if not lacking.intersection(tokens.ids) or not _rest_agrees(side, serving, text, tokens, lacking):
        return f"the tokenizer of {side.name} reads it as other tokens"
    return None


def _rest_agrees(side: Side, serving: Side, text: Text, tokens: TokenizedText, lacking: set[int]) -> bool:
    """Tell whether two tokenizers read a text alike between the tokens that one of them lacks."""
    words, rendered = (text, False) if isinstance(text, str) else (text.text, text.rendered)
    pieces, start = [], 0
    for i, (first, last) in zip(tokens.ids, tokens.offsets, strict=True):
        if i in lacking:
            pieces.append(words[start:first])
            start = last
    pieces.append(words[start:])

    def read(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
        front = [] if rendered else tokenize(tokenizer, pieces[:1])
        return [*front, *tokenizer(pieces[len(front) :], add_special_tokens=False)["input_ids"]]

    return bool(read(_tokenizer_of(side)) == read(_tokenizer_of(serving)))
