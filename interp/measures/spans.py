"""Subject spans: from prompts to token batches that know where the subject is.

Which tokens are the subject's is decided in :mod:`interp.measures.subject_masks`; ids and ranges are those of
training (:mod:`finetune.data.tokenization`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from finetune.checkpoints.shared_tokenizer import masked_id, unreadable_prompts
from finetune.common.errors import InputError, LeftOut
from finetune.common.freed_memory import release_freed_memory
from finetune.common.short_repr import ShortRepr
from finetune.data.prompts import Prompt
from finetune.data.tokenization import TokenizedText, tokenize
from interp.measures.subject_masks import Occurrence, mask_subject
from interp.measures.token_words import number_words, special_ids

SUNK = (
    "its prompt begins with the subject, and a first token draws attention whatever it is; word it with "
    "something in front (--phrasebook)"
)
LEAD_IN = "Fact: "  # neutral words in front of a prompt that begins with its subject


@dataclass(frozen=True, kw_only=True)
class PromptBatch(ShortRepr):
    """Right-padded prompts with the roles of their tokens.

    ``last`` is the position of each row's last real token, where the answer is read. ``special_mask``
    marks tokens that stand for no words: BOS, and the marks of a chat template. ``word`` numbers the words
    that tokens are parts of (between spaces, and apart from the subject's), -1 for tokens of none.
    ``left_out`` lists prompts that could not be aligned.
    """

    input_ids: Int[Tensor, "fact pos"]
    attention_mask: Int[Tensor, "fact pos"]
    subject_mask: Bool[Tensor, "fact pos"]
    special_mask: Bool[Tensor, "fact pos"]
    word: Int[Tensor, "fact pos"]
    last: Int[Tensor, " fact"]
    prompts: tuple[Prompt, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> PromptBatch:
        """Keep some rows (a slice, indices or a mask), trimmed to the longest of them.

        Raises:
            InputError: no row is kept.
        """
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows)
            rows = rows if rows.dtype == torch.bool else rows.long()
        index = torch.arange(len(self))[rows]
        if not len(index):
            raise InputError(f"none of {len(self)} prompts is chosen; choose one at least")
        width = int(self.last[index].max()) + 1
        return PromptBatch(
            input_ids=self.input_ids[index, :width],
            attention_mask=self.attention_mask[index, :width],
            subject_mask=self.subject_mask[index, :width],
            special_mask=self.special_mask[index, :width],
            word=self.word[index, :width],
            last=self.last[index],
            prompts=tuple(self.prompts[int(i)] for i in index),
        )

    def _shown(self) -> Mapping[str, Any]:
        shape = {"prompts": len(self), "tokens": int(self.attention_mask.sum()), "input_ids": self.input_ids}
        return shape | {"subject_tokens": int(self.subject_mask.sum()), "left_out": len(self.left_out)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = ("fact_id", "text", "answers")
        return [{name: getattr(prompt, name) for name in names} for prompt in self.prompts[:5]]

    @property
    def fact_ids(self) -> tuple[str, ...]:
        """The fact id of every row; a prompt without one goes by its text."""
        return tuple(prompt.fact_id or prompt.text for prompt in self.prompts)

    @property
    def last_mask(self) -> Bool[Tensor, "fact pos"]:
        """Mark the last real token of every row."""
        return torch.arange(self.input_ids.shape[1])[None] == self.last[:, None]

    @property
    def sink_mask(self) -> Bool[Tensor, "fact pos"]:
        """Mark attention sinks: special tokens, and the first token whatever it is, with repeats behind it.

        Where a prompt begins with a token several times over, models take each for the first one (Yona et al.
        2025): of two line breaks SmolLM2 pays 0.27 of its attention to either.
        """
        first = (self.input_ids == self.input_ids[:, :1]).int().cumprod(1).bool()
        return (self.special_mask | first) & self.attention_mask.bool()

    @property
    def sunk(self) -> Bool[Tensor, " fact"]:
        """Tell which prompts begin with their subject, whose attention cannot be told from a sink's."""
        return self.subject_mask[:, 0]

    @property
    def relation_mask(self) -> Bool[Tensor, "fact pos"]:
        """Mark the prompt's own words: neither special, nor subject, nor the last token, nor padding."""
        return self.attention_mask.bool() & ~self.special_mask & ~self.subject_mask & ~self.last_mask

    def token_rows(self) -> list[list[int]]:
        """List every prompt's real tokens."""
        ends = (self.last + 1).tolist()
        return [row[:end] for row, end in zip(self.input_ids.tolist(), ends, strict=True)]

    def tokens(self, tokenizer: PreTrainedTokenizerBase) -> list[list[str]]:
        """Decode every real token by itself, for display."""
        return [[str(tokenizer.decode([token])) for token in row] for row in self.token_rows()]

    def chunks(
        self, batch_tokens: int, rows: int | None = None
    ) -> Iterator[tuple[Int[Tensor, " row"], PromptBatch]]:
        """Yield (original rows, trimmed batch) in order of length, each of at most ``batch_tokens`` tokens.

        A prompt longer than the bound comes alone; ``rows`` bounds the prompts of a chunk, too.
        """
        order = torch.argsort(self.last, stable=True)
        while len(order):
            widths = self.last[order[: rows or len(self)]] + 1
            fit = max(1, int((widths * torch.arange(1, len(widths) + 1) <= batch_tokens).sum()))
            yield order[:fit], self[order[:fit]]
            release_freed_memory()
            order = order[fit:]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    occurrence: Occurrence = None,
    max_length: int | None = None,
) -> PromptBatch:
    """Tokenise prompts and mark their subjects.

    Prompts that cannot be aligned are set aside, and so are those that a side of a pair's tokenizer cannot be
    asked, because it lacks a token in them (:mod:`finetune.checkpoints.shared_tokenizer`).

    Args:
        tokenizer: the model's own fast tokenizer, or a pair's.
        prompts: texts with the subject's character range.
        occurrence: which occurrences of the subject's text to mark: the given range (None), ``"all"``, or
            the k-th from 0 (from the last, if negative). If the given one is a whole word, so are the others.
        max_length: prompts of more tokens are left out.

    Raises:
        InputError: the tokenizer reports no offsets, or not one prompt could be aligned.

    Examples:
        >>> from finetune.data.prompts import render
        >>> from finetune.data.tokenizers import word_tokenizer
        >>> from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
        >>> facts = make_world(WorldConfig(subjects=8, relations=1))
        >>> tokenizer = word_tokenizer(facts, world_phrasebook())
        >>> batch = encode(tokenizer, [render("{subject} was born in", facts[0])])
        >>> batch.subject_mask[0].tolist()  # BOS, two words of a name, was, born, in
        [False, True, True, False, False, False]
    """
    if not isinstance(prompts, Sequence) or not all(isinstance(prompt, Prompt) for prompt in prompts):
        raise InputError("prompts: behind the tokenizer give a list of Prompt, as ask_in_format makes it")
    rows: list[tuple[Prompt, TokenizedText, list[bool]]] = []
    left_out: list[LeftOut] = []
    unshared = unreadable_prompts(tokenizer, prompts)
    for i, (prompt, tokens) in enumerate(zip(prompts, tokenize(tokenizer, prompts), strict=True)):
        try:
            if i in unshared:
                raise ValueError(unshared[i])
            mask = mask_subject(prompt, tokens, occurrence, max_length)
        except ValueError as error:
            left_out.append(LeftOut(where=prompt.fact_id or prompt.text, reason=str(error)))
            continue
        rows.append((prompt, tokens, mask))
    if not rows:
        raise InputError(_why_none(len(prompts), left_out))
    return _pad(tokenizer, rows, tuple(left_out))


def _why_none(n: int, left_out: Sequence[LeftOut]) -> str:
    why = f"the first, {left_out[0].where[:40]!r}: {left_out[0].reason}" if left_out else "there are none"
    return (
        f"none of the {n} prompts can be aligned with the tokenizer ({why}); mark a subject that it can read"
    )


def rows_by_id(fact_ids: Sequence[str]) -> dict[str, int]:
    """Return the row of each fact id, so that prompts can be found by it.

    Raises:
        InputError: several prompts have one id, which would then mean the last of them.
    """
    place = {fact_id: row for row, fact_id in enumerate(fact_ids)}
    if len(place) < len(fact_ids):
        fact_id, count = Counter(fact_ids).most_common(1)[0]
        raise InputError(f"fact {fact_id!r}: {count} prompts have this id; give each its own fact_id")
    return place


def behind_lead_in(prompt: Prompt) -> Prompt:
    """Put neutral words in front of a prompt, so that its first token, a sink, is not the subject's."""
    start, end = prompt.subject
    return replace(prompt, text=LEAD_IN + prompt.text, subject=(len(LEAD_IN) + start, len(LEAD_IN) + end))


def _pad(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[Prompt, TokenizedText, list[bool]]],
    left_out: tuple[LeftOut, ...],
) -> PromptBatch:
    lengths = torch.tensor([len(tokens) for _, tokens, _ in rows])
    shape = (len(rows), int(lengths.max()))
    ids = torch.full(shape, masked_id(tokenizer))
    subject, word = torch.zeros(shape, dtype=torch.bool), torch.full(shape, -1)
    for row, (prompt, tokens, mask) in enumerate(rows):
        word[row, : len(tokens)] = torch.tensor(number_words(prompt.text, tokens.offsets, mask))
        ids[row, : len(tokens)] = torch.tensor(tokens.ids)
        subject[row, : len(tokens)] = torch.tensor(mask)
    real = torch.arange(shape[1])[None] < lengths[:, None]
    special = torch.isin(ids, torch.tensor(special_ids(tokenizer))) & real & ~subject
    return PromptBatch(
        input_ids=ids,
        attention_mask=real.long(),
        subject_mask=subject,
        special_mask=special,
        word=word.masked_fill(special, -1),
        last=lengths - 1,
        prompts=tuple(prompt for prompt, _, _ in rows),
        left_out=left_out,
    )
