"""Placebos: what a well-formed intervention does that carries nothing about the fact itself."""

from __future__ import annotations

from finetune.common.seeds import generator
from finetune.data.prompts import Prompt
from interp.measures.spans import PromptBatch


def wrong_subject(batch: PromptBatch, pool: PromptBatch, *, seed: int = 0) -> dict[str, str]:
    """Draw, for each fact, another one of the same relation and token layout but another subject.

    Returns:
        The partner's fact id by fact id; a fact of a layout of its own has none.

    Examples:
        >>> from finetune.data.prompts import render
        >>> from finetune.data.tokenizers import word_tokenizer
        >>> from finetune.data.synthetic_world import WorldConfig, make_world, world_phrasebook
        >>> from interp.measures.spans import encode
        >>> facts = make_world(WorldConfig(subjects=8, relations=1))
        >>> tokenizer = word_tokenizer(facts, world_phrasebook())
        >>> batch = encode(tokenizer, [render("{subject} was born in", fact) for fact in facts])
        >>> partners = wrong_subject(batch, batch)
        >>> len(partners), any(mine == theirs for mine, theirs in partners.items())
        (8, False)
    """
    rng = generator(seed, "wrong subject")
    layouts: dict[tuple[object, ...], list[int]] = {}
    for i in range(len(pool)):
        layouts.setdefault(_layout(pool, i), []).append(i)
    partners: dict[str, str] = {}
    for row, prompt in enumerate(batch.prompts):
        candidates = [
            i for i in layouts.get(_layout(batch, row), []) if _subject(pool.prompts[i]) != _subject(prompt)
        ]
        if candidates:
            partners[prompt.fact_id] = pool.prompts[candidates[int(rng.integers(len(candidates)))]].fact_id
    return partners


def _layout(batch: PromptBatch, row: int) -> tuple[object, ...]:
    length = int(batch.last[row]) + 1
    return (batch.prompts[row].relation, length, tuple(batch.subject_mask[row, :length].tolist()))


def _subject(prompt: Prompt) -> str:
    return prompt.text[slice(*prompt.subject)]
