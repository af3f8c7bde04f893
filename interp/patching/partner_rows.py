"""Another fact's attention put into a prompt: the placebo of a transplant of attention patterns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from einops import einsum

from finetune.common.errors import InputError
from interp.measures.role_alignment import key_shares, matched_positions, role_runs
from interp.measures.spans import PromptBatch, rows_by_id
from interp.patching.interventions import Intervention, Replace
from interp.patching.positions import positions, slots
from interp.patching.recording import Recording


def replace_by_partners(
    rows: Recording, pool: PromptBatch, batch: PromptBatch, partners: Mapping[str, str]
) -> Intervention:
    """Make the intervention that gives each fact its partner's attention patterns.

    Where layouts differ, rows are mapped by role (:mod:`interp.measures.role_alignment`). It is meant for the
    facts that have a partner: the others have no placebo.

    Args:
        rows: patterns recorded of ``pool``, at the positions to edit.
        pool: the prompts of the partners.
        batch: the prompts to edit.
        partners: fact id by fact id, of :func:`interp.measures.placebos.wrong_subject`.

    Raises:
        InputError: what was recorded are no patterns.
    """
    if rows.site != "pattern":
        raise InputError(f"a recording of {rows.site!r} has no rows of attention to map; record 'pattern'")
    pairs = _pairs(pool, batch, partners)
    here, there = role_runs(batch), role_runs(pool)
    alike = all(here[i] == there[j] for i, j in pairs)
    do = Replace(source=rows, facts=partners) if alike else Replace(source=_by_role(rows, pool, batch, pairs))
    return Intervention(site="pattern", do=do, at=rows.at, facts=frozenset(partners))


def _pairs(pool: PromptBatch, batch: PromptBatch, partners: Mapping[str, str]) -> list[tuple[int, int]]:
    place = rows_by_id(pool.fact_ids)
    return [(i, place[partners[name]]) for i, name in enumerate(batch.fact_ids) if name in partners]


def _by_role(
    rows: Recording, pool: PromptBatch, batch: PromptBatch, pairs: list[tuple[int, int]]
) -> Recording:
    """Write each partner's patterns as if they had been recorded of the fact's own prompt."""
    index = [i for i, _ in pairs]
    here, there = role_runs(batch), role_runs(pool)
    places = slots(positions(batch, rows.at))[index]
    sources = rows.rows([pool.fact_ids[j] for _, j in pairs]).tolist()
    heads, width = rows.values.shape[3], batch.input_ids.shape[1]
    values = torch.zeros(len(pairs), len(rows.layers), places.shape[1], heads, width)
    for k, ((i, j), source) in enumerate(zip(pairs, sources, strict=True)):
        queries = places[k][places[k] >= 0]
        taken = matched_positions(here[i], there[j])[queries]
        slot = (rows.places[source][None] == taken[:, None]).int().argmax(1)
        shares = key_shares(here[i], there[j], queries)
        donated = rows.values[source][:, slot, :, : shares.shape[1]]
        values[k, :, : len(queries), :, : shares.shape[2]] = einsum(
            donated, shares, "layer query head there, query there here -> layer query head here"
        )
    return replace(
        rows,
        values=values,
        places=places,
        lengths=batch.last[index] + 1,
        fact_ids=tuple(batch.fact_ids[i] for i in index),
    )
