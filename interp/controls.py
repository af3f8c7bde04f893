"""Placebos: what a well-formed intervention does that carries nothing about the fact itself."""

from __future__ import annotations

import numpy as np

from finetune.prompts import Prompt
from interp.spans import PromptBatch


def wrong_subject(batch: PromptBatch, pool: PromptBatch, *, seed: int = 0) -> dict[str, str]:
    """Draw, for each fact, another one of the same relation and token layout but another subject.

    Returns:
        The partner's fact id by fact id; a fact of a layout of its own has none.
    """
    rng = np.random.default_rng([seed, 4])
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
