"""Placebos: what a well-formed intervention does that carries nothing about the fact itself."""

from __future__ import annotations

import numpy as np

from finetune.common.seeds import generator
from finetune.data.prompts import Prompt
from interp.measures.role_alignment import role_runs
from interp.measures.spans import PromptBatch, rows_by_id


def wrong_subject(batch: PromptBatch, pool: PromptBatch, *, seed: int = 0) -> dict[str, str]:
    """Draw, for each fact, another one of the same relation but another subject, in a prompt like its own.

    Their prompts have the same roles in the same order (:mod:`interp.measures.role_alignment`). The partner
    is drawn among those whose runs of tokens differ least in length: of the same layout, if there is one.

    Returns:
        The partner's fact id by fact id. A fact without another one like it has none: it has no placebo, and
        counts in none.

    Raises:
        InputError: several prompts of the batch have one fact id.

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
    kinds: dict[tuple[object, ...], list[int]] = {}
    pool_runs = role_runs(pool)
    for i, (prompt, runs) in enumerate(zip(pool.prompts, pool_runs, strict=True)):
        kinds.setdefault((prompt.relation, *(role for role, _ in runs)), []).append(i)
    members = {kind: np.array(rows) for kind, rows in kinds.items()}
    lengths = {k: np.array([[n for _, n in pool_runs[i]] for i in rows]) for k, rows in kinds.items()}
    subjects = np.array([_subject(prompt) for prompt in pool.prompts], dtype=object)
    partners: dict[str, str] = {}
    for (fact_id, row), runs in zip(rows_by_id(batch.fact_ids).items(), role_runs(batch), strict=True):
        prompt = batch.prompts[row]
        kind = (prompt.relation, *(role for role, _ in runs))
        if kind not in members:
            continue
        others = subjects[members[kind]] != _subject(prompt)
        if others.any():
            apart = np.abs(lengths[kind] - [n for _, n in runs]).sum(1)[others]
            nearest = members[kind][others][apart == apart.min()]
            partners[fact_id] = pool.fact_ids[nearest[int(rng.integers(len(nearest)))]]
    return partners


def _subject(prompt: Prompt) -> str:
    return prompt.text[slice(*prompt.subject)]
