"""Subject masks: which tokens of a text belong to its subject, of one occurrence or of all.

A token belongs to the subject if its half-open character range overlaps the subject's, leading and trailing
space aside: one that touches the span's edge is out, one that carries the space in front and the first
letters is in, one that is only that space is out; one that is only a space *inside* the subject, as some
tokenizers make before "2nd", is in.
"""

from __future__ import annotations

import re
from typing import Literal

from finetune.data.prompts import Prompt
from finetune.data.tokenization import Span, TokenizedText, subject_tokens
from interp.measures.token_words import stands_alone

Occurrence = Literal["all"] | int | None


def _occurrences(prompt: Prompt, occurrence: Occurrence) -> list[Span]:
    if occurrence is None:
        return [prompt.subject]
    start, end = prompt.subject
    pattern = re.escape(prompt.text[start:end])
    if re.compile(rf"(?<!\w){pattern}(?!\w)").match(prompt.text, start):
        pattern = rf"(?<!\w){pattern}(?!\w)"  # "Ada" is not to be found in "Canada"
    spans = [match.span() for match in re.finditer(pattern, prompt.text)]
    if occurrence == "all":
        return spans
    if not -len(spans) <= occurrence < len(spans):
        raise ValueError(f"the subject occurs {len(spans)} times; occurrence={occurrence} is none of them")
    return [spans[occurrence]]


def mask_subject(
    prompt: Prompt, tokens: TokenizedText, occurrence: Occurrence, max_length: int | None
) -> list[bool]:
    """Mark the tokens of a prompt's subject.

    Args:
        prompt: the text with the subject's character range.
        tokens: the text's own.
        occurrence: which occurrences, as :func:`interp.measures.spans.encode` takes it.
        max_length: the most tokens that a prompt may have.

    Raises:
        ValueError: why the prompt cannot be aligned.
    """
    text, spans = prompt.text, _occurrences(prompt, occurrence)
    mask = subject_tokens(text, tokens.offsets, spans)
    if all(start == end for start, end in tokens.offsets):
        raise ValueError("the text tokenises to nothing")
    if not any(mask):
        raise ValueError("no token covers the subject")
    if max_length is not None and len(tokens) > max_length:
        raise ValueError(f"{len(tokens)} tokens are more than the {max_length} allowed")
    covered = {i for start, end in tokens.offsets for i in range(start, end)}
    if any(i not in covered and stands_alone(text[i]) for span in spans for i in range(*span)):
        raise ValueError("the tokenizer drops part of the subject")
    return mask
