"""From prompts to token batches that know where the subject is.

A token belongs to the subject if its half-open character range overlaps a visible character of the
subject's. So a token that merely touches the span's edge is out, a token that carries the space before the
subject and its first letters is in, and one that is only that space is out. Ids and ranges come from the
one tokenisation that training uses (:mod:`finetune.tokens`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from finetune.facts import InputError, LeftOut
from finetune.prompts import Prompt
from finetune.tokens import Tokens, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
Occurrence = Literal["all"] | int | None


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Right-padded prompts with the roles of their tokens.

    ``last`` is the position of each row's last real token, where the answer is read. ``special_mask``
    marks tokens that stand for no text (BOS). ``left_out`` lists prompts that could not be aligned.
    """

    input_ids: Int[Tensor, "fact pos"]
    attention_mask: Int[Tensor, "fact pos"]
    subject_mask: Bool[Tensor, "fact pos"]
    special_mask: Bool[Tensor, "fact pos"]
    last: Int[Tensor, " fact"]
    prompts: tuple[Prompt, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> PromptBatch:
        """Keep some rows, trimmed to the longest of them."""
        index = torch.arange(len(self))[rows if isinstance(rows, slice) else torch.as_tensor(rows).long()]
        width = int(self.last[index].max()) + 1 if len(index) else 0
        return PromptBatch(
            input_ids=self.input_ids[index, :width],
            attention_mask=self.attention_mask[index, :width],
            subject_mask=self.subject_mask[index, :width],
            special_mask=self.special_mask[index, :width],
            last=self.last[index],
            prompts=tuple(self.prompts[int(i)] for i in index),
        )

    @property
    def fact_ids(self) -> tuple[str, ...]:
        """The fact id of every row."""
        return tuple(prompt.fact_id for prompt in self.prompts)

    @property
    def last_mask(self) -> Bool[Tensor, "fact pos"]:
        """Mark the last real token of every row."""
        return torch.arange(self.input_ids.shape[1])[None] == self.last[:, None]

    @property
    def relation_mask(self) -> Bool[Tensor, "fact pos"]:
        """Mark the prompt's own words: neither special, nor subject, nor the last token, nor padding."""
        return self.attention_mask.bool() & ~self.special_mask & ~self.subject_mask & ~self.last_mask

    def tokens(self, tokenizer: PreTrainedTokenizerBase) -> list[list[str]]:
        """Decode every real token by itself, for display."""
        rows = [self.input_ids[i, : int(self.last[i]) + 1].tolist() for i in range(len(self))]
        return [[tokenizer.decode([token]) for token in row] for row in rows]

    def chunks(self, batch_tokens: int) -> Iterator[tuple[Int[Tensor, " row"], PromptBatch]]:
        """Yield (original rows, trimmed batch) in order of length, each of at most ``batch_tokens`` tokens.

        A prompt longer than the bound comes alone.
        """
        order = torch.argsort(self.last, stable=True)
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * (int(self.last[order[end]]) + 1) <= batch_tokens:
                end += 1
            yield order[start:end], self[order[start:end]]
            start = end


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    occurrence: Occurrence = None,
    max_length: int | None = None,
) -> PromptBatch:
    """Tokenise prompts and mark their subjects.

    Args:
        tokenizer: the model's own fast tokenizer.
        prompts: texts with the subject's character range.
        occurrence: which occurrences of the subject's text to mark: the given range (None), ``"all"``, or
            the k-th from 0.
        max_length: prompts of more tokens are left out.

    Raises:
        InputError: the tokenizer reports no offsets, or not one prompt could be aligned.
    """
    rows: list[tuple[Prompt, Tokens, list[bool]]] = []
    left_out: list[LeftOut] = []
    for prompt, tokens in zip(prompts, tokenize(tokenizer, [p.text for p in prompts]), strict=True):
        try:
            spans = _occurrences(prompt, occurrence)
            mask = subject_tokens(prompt.text, tokens.offsets, spans)
            _require_alignable(mask, len(tokens), max_length)
        except ValueError as error:
            left_out.append(LeftOut(where=prompt.fact_id or prompt.text, reason=str(error)))
            continue
        rows.append((prompt, tokens, mask))
    if not rows:
        reason = left_out[0].reason if left_out else "there are none"
        raise InputError(f"none of the {len(prompts)} prompts can be aligned with the tokenizer ({reason})")
    return _pad(rows, tuple(left_out))


def subject_tokens(text: str, offsets: Sequence[Span], spans: Sequence[Span]) -> list[bool]:
    """Return which tokens overlap a visible character of one of the spans."""
    visible = {i for start, end in spans for i in range(start, end) if not text[i].isspace()}
    return [any(i in visible for i in range(start, end)) for start, end in offsets]


def _occurrences(prompt: Prompt, occurrence: Occurrence) -> list[Span]:
    if occurrence is None:
        return [prompt.subject]
    needle = prompt.text[slice(*prompt.subject)]
    starts, at = [], prompt.text.find(needle)
    while at >= 0:
        starts.append(at)
        at = prompt.text.find(needle, at + len(needle))
    spans = [(s, s + len(needle)) for s in starts]
    if occurrence == "all":
        return spans
    if not -len(spans) <= occurrence < len(spans):
        raise ValueError(f"the subject occurs {len(spans)} times; occurrence={occurrence} is none of them")
    return [spans[occurrence]]


def _require_alignable(mask: Sequence[bool], length: int, max_length: int | None) -> None:
    if not length:
        raise ValueError("the text tokenises to nothing")
    if not any(mask):
        raise ValueError("no token covers the subject")
    if max_length is not None and length > max_length:
        raise ValueError(f"{length} tokens are more than the {max_length} allowed")


def _pad(rows: Sequence[tuple[Prompt, Tokens, list[bool]]], left_out: tuple[LeftOut, ...]) -> PromptBatch:
    lengths = torch.tensor([len(tokens) for _, tokens, _ in rows])
    shape = (len(rows), int(lengths.max()))
    ids = torch.zeros(shape, dtype=torch.long)
    subject = torch.zeros(shape, dtype=torch.bool)
    special = torch.zeros(shape, dtype=torch.bool)
    for row, (_, tokens, mask) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens.ids)
        subject[row, : len(tokens)] = torch.tensor(mask)
        special[row, : len(tokens)] = torch.tensor([a == b for a, b in tokens.offsets])
    real = torch.arange(shape[1])[None] < lengths[:, None]
    return PromptBatch(
        input_ids=ids,
        attention_mask=real.long(),
        subject_mask=subject,
        special_mask=special,
        last=lengths - 1,
        prompts=tuple(prompt for prompt, _, _ in rows),
        left_out=left_out,
    )
