"""Prompts matched by role: the identity within a layout; across layouts, what every run draws is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.common.errors import InputError
from finetune.data.prompts import render
from interp.measures.placebos import wrong_subject
from interp.measures.role_alignment import key_shares, matched_positions, role_runs
from interp.measures.spans import PromptBatch, encode
from interp.patching.interventions import Intervention, Replace
from interp.patching.partner_rows import replace_by_partners
from interp.patching.patch import patch
from interp.patching.positions import Role, positions
from interp.patching.recording import record
from tests.interp import measuring_fixtures as tiny

ROLES: tuple[Role, ...] = ("bos", "subject", "relation", "last")
lengths = st.lists(st.integers(1, 4), min_size=4, max_size=4)


def runs(counts: list[int]) -> tuple[tuple[int, int], ...]:
    return tuple(zip((4, 2, 0, 1), counts, strict=True))


def expected(here: list[int], there: list[int], row: np.ndarray, query: int) -> np.ndarray:
    """Hand out a row run by run and token by token, as the module's three rules say: slow and plain."""
    out, start, other = np.zeros(sum(here)), 0, 0
    for n, m in zip(here, there, strict=True):
        for k in range(m):
            takers = [j for j in range(n) if max(0, m - n + j) == k] or [0]
            seen = [j for j in takers if start + j <= query]
            for j in seen:
                out[start + j] += row[other + k] / len(seen)
        start, other = start + n, other + m
    return out


@given(lengths, lengths, st.integers(0, 100))
def test_rows_keep_what_every_run_draws_and_see_nothing_ahead(
    here: list[int], there: list[int], seed: int
) -> None:
    matched = matched_positions(runs(here), runs(there))
    queries = torch.arange(sum(here))
    shares = key_shares(runs(here), runs(there), queries).numpy()
    rng = np.random.default_rng(seed)
    for query in queries.tolist():
        row = np.where(np.arange(sum(there)) <= int(matched[query]), rng.random(sum(there)), 0)
        row /= row.sum()
        made = row @ shares[query]
        assert made.sum() == pytest.approx(1)
        assert not made[query + 1 :].any()
        np.testing.assert_allclose(made, expected(here, there, row, query), atol=1e-7)
        edges = [np.cumsum([0, *some]) for some in (here, there)]
        for i in range(4):
            drawn = made[edges[0][i] : edges[0][i + 1]].sum(), row[edges[1][i] : edges[1][i + 1]].sum()
            assert drawn[0] == pytest.approx(drawn[1])


@given(lengths)
def test_one_layout_is_mapped_onto_itself(counts: list[int]) -> None:
    every = torch.arange(sum(counts))
    assert torch.equal(matched_positions(runs(counts), runs(counts)), every)
    shares = key_shares(runs(counts), runs(counts), every)
    seen = every[None, :] <= every[:, None]
    assert torch.equal(shares, torch.diag_embed(seen.float()))


def test_runs_are_of_sinks_subject_words_and_last_token() -> None:
    batch = tiny.batch()
    assert role_runs(batch)[2] == ((4, 1), (2, 3), (0, 2), (1, 1))  # BOS, Cy Dee Fox, was born, in
    found = [[role for role, n in some for _ in range(n)] for some in role_runs(batch)]
    assert [len(roles) for roles in found] == (batch.last + 1).tolist()


def test_a_fact_of_a_layout_of_its_own_has_a_partner_of_the_nearest() -> None:
    batch = tiny.batch()
    short, two, three = (batch.fact_ids.index(f"born{i}") for i in (0, 1, 2))
    few = batch[[short, two, three]]
    partners = wrong_subject(few, few)
    assert partners["born0"] == "born1", "one word is nearer to two than to three"
    assert partners["born2"] == "born1"
    assert partners["born1"] in ("born0", "born2")
    assert all(name.startswith("born") for name in wrong_subject(batch, batch).values() if name in partners)


def test_another_order_of_roles_is_no_partner() -> None:
    facts = tiny.facts()
    first, behind = render("{subject} was born in", facts[1]), render("the instrument of {subject}", facts[2])
    batch = encode(tiny.tokenizer(), [first, replace(behind, relation=first.relation)])
    assert wrong_subject(batch, batch) == {}


@pytest.mark.parametrize("at", ["last", "all"])
def test_rows_of_one_layout_are_the_engines_own(at: Role) -> None:
    """Facts with subjects of two words: by role is by position, to the bit."""
    model, batch = tiny.both("llama").hooked, _of_length(tiny.batch(), 2)
    rows, partners = record(model, batch, "pattern", at=at), wrong_subject(batch, batch)
    item = replace_by_partners(rows, batch, batch, partners)
    assert isinstance(item.do, Replace)
    assert item.do.source is rows
    assert item.do.facts == partners


def test_mapped_rows_are_as_the_rules_say_and_the_engine_puts_them_in() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    partners = {"born0": "born2", "born2": "born1", "plays4": "plays7"}
    for at in ("last", "all"):
        rows = record(model, batch, "pattern", at=at)
        item = replace_by_partners(rows, batch, batch, partners)
        assert isinstance(item.do, Replace)
        source, ids = item.do.source, list(batch.fact_ids)
        assert source.fact_ids == tuple(name for name in ids if name in partners)
        for k, name in enumerate(source.fact_ids):
            i, j = ids.index(name), ids.index(partners[name])
            here, there = ([n for _, n in role_runs(batch)[row]] for row in (i, j))
            matched = matched_positions(role_runs(batch)[i], role_runs(batch)[j])
            for slot, query in enumerate(positions(batch, at)[i].nonzero().flatten().tolist()):
                at_donor = rows.places[j].tolist().index(int(matched[query]))
                for layer in range(2):
                    given = rows.values[j, layer, at_donor, 3].numpy()[: sum(there)]
                    row = expected(here, there, given, query)
                    got = source.values[k, layer, slot, 3].numpy()[: sum(here)]
                    np.testing.assert_allclose(got, row, atol=1e-6)
        result = patch(model, batch, item, tiny.tokenizer(), max_new_tokens=0)
        touched = ~result.effect[0].isnan()
        assert {ids[i] for i in touched.nonzero().flatten().tolist()} == set(partners)
        own = Intervention(site="pattern", do=Replace(source=source), at=at, facts=frozenset(partners))
        again = patch(model, batch[touched], own, tiny.tokenizer(), max_new_tokens=0)
        torch.testing.assert_close(result.log_prob[0][touched], again.log_prob[0])


def test_what_has_no_keys_is_not_mapped() -> None:
    model, batch = tiny.both("llama").hooked, tiny.batch()
    with pytest.raises(InputError, match="no rows of attention"):
        replace_by_partners(record(model, batch, "z"), batch, batch, {})


def _of_length(batch: PromptBatch, words: int) -> PromptBatch:
    return batch[(batch.subject_mask.sum(1) == words).nonzero().flatten()]
