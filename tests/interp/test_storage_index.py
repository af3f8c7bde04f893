"""The storage index: 0 and 1 at the medians of its anchors, blind to units, and slow ways of computing it."""

from __future__ import annotations

import numpy as np
import pytest

from interp.stats.weighted import weighted_median
from interp.verdicts.storage_index import Anchors, index_interval, storage_index


def anchors(n: int = 101, *, gap: float = 4.0, seed: int = 0) -> Anchors:
    never, retained = np.random.default_rng(seed).normal(size=(2, n))
    return Anchors(never=never, retained=retained + gap)


def test_the_medians_of_the_anchors_are_nought_and_one() -> None:
    made = anchors()
    assert np.median(storage_index(made.never, made)[0]) == pytest.approx(0)
    assert np.median(storage_index(made.retained, made)[0]) == pytest.approx(1)
    middle = (np.median(made.never) + np.median(made.retained)) / 2
    assert storage_index(np.array([middle, np.nan]), made)[0] == pytest.approx([0.5, np.nan], nan_ok=True)


def test_an_affine_change_of_the_evidence_changes_nothing() -> None:
    made, facts = anchors(), np.random.default_rng(1).normal(size=50) + 2
    other = Anchors(never=made.never * 700 - 5, retained=made.retained * 700 - 5)
    np.testing.assert_allclose(storage_index(facts * 700 - 5, other), storage_index(facts, made), atol=1e-9)


def test_anchors_are_apart_where_half_of_the_retained_pass_the_cut() -> None:
    never = np.linspace(0, 1, 101)
    assert Anchors(never=never, retained=np.full(9, 0.96)).apart(0.05)
    assert not Anchors(never=never, retained=np.full(9, 0.94)).apart(0.05)
    assert Anchors(never=np.append(never, np.nan), retained=np.array([0.96, np.nan])).apart(0.05)
    for empty in (np.array([]), np.array([np.nan])):
        assert not Anchors(never=empty, retained=never).apart(0.05)
        assert not Anchors(never=never, retained=empty).apart(0.05)


def test_the_interval_is_of_anchors_drawn_again_and_narrows_with_their_number() -> None:
    fact = np.array([2.0])
    widths = []
    for n in (21, 1001):
        made = anchors(n)
        low, high = index_interval(fact, made, np.arange(2 * n))
        value = storage_index(fact, made)[0]
        assert low[0] <= value[0] <= high[0]
        widths.append(high[0] - low[0])
    assert widths[1] < widths[0] / 3
    rng, made = np.random.default_rng(0), anchors(21)
    drawn = []
    for _ in range(500):
        rows = rng.integers(0, 42, 42)
        some = Anchors(never=made.never[rows[rows < 21]], retained=made.retained[rows[rows >= 21] - 21])
        drawn.append(storage_index(fact, some)[0, 0])
    slow = np.quantile(drawn, [0.025, 0.975])
    low, high = index_interval(fact, made, np.arange(42))
    assert [low[0], high[0]] == pytest.approx(slow.tolist(), abs=0.25 * widths[0])


def test_weights_stand_for_repeated_rows() -> None:
    made, facts = anchors(15), np.random.default_rng(2).normal(size=5)
    weights = np.random.default_rng(3).integers(0, 4, (6, 30)).astype(float)
    for draw, row in zip(storage_index(facts, made, weights), weights.astype(int), strict=True):
        some = Anchors(never=made.never.repeat(row[:15]), retained=made.retained.repeat(row[15:]))
        np.testing.assert_allclose(draw, storage_index(facts, some)[0])


def test_weighted_medians_leave_out_what_is_missing() -> None:
    values = np.array([[1.0, np.nan, 3.0, 2.0], [np.nan] * 4])
    weights = np.array([[1.0, 5, 1, 2], [1, 1, 1, 1]])
    found = weighted_median(values, weights)
    assert found[0] == 2.0
    assert np.isnan(found[1])
