"""The storage index: 0 and 1 at the medians of its anchors, blind to units, and slow ways of computing it."""

from __future__ import annotations

import numpy as np
import pytest

from interp.stats.weighted import weighted_median
from interp.verdicts.storage_index import Anchors, index_interval, storage_index

KINDS = ("forms", "boost", "patterns")


def anchors(n: int = 101, *, kinds: tuple[str, ...] = KINDS, gap: float = 4.0, seed: int = 0) -> Anchors:
    rng = np.random.default_rng(seed)
    never, retained = (rng.normal(size=(n, len(kinds))) + rng.normal(size=(n, 1)) for _ in range(2))
    return Anchors(never=never, retained=retained + gap, kinds=kinds)


def test_the_medians_of_the_anchors_are_nought_and_one() -> None:
    made = anchors()
    assert np.median(storage_index(made.never, made)[0]) == pytest.approx(0)
    assert np.median(storage_index(made.retained, made)[0]) == pytest.approx(1)
    lone = anchors(kinds=("forms",))
    middle = (np.median(lone.never) + np.median(lone.retained)) / 2
    assert storage_index(np.array([[middle]]), lone)[0, 0] == pytest.approx(0.5)


def test_an_affine_change_of_a_kind_changes_nothing() -> None:
    made, rng = anchors(), np.random.default_rng(1)
    facts = rng.normal(size=(50, 3)) + 2
    scale, shift = np.array([3.0, 0.01, 700.0]), np.array([-5.0, 40.0, 0.3])
    other = Anchors(never=made.never * scale + shift, retained=made.retained * scale + shift, kinds=KINDS)
    expected = storage_index(facts, made)
    np.testing.assert_allclose(storage_index(facts * scale + shift, other), expected, atol=1e-9)


def test_the_index_is_the_mean_of_wordings_and_the_best_repair() -> None:
    made, facts = anchors(), np.array([[1.0, 3.0, -2.0], [4.0, np.nan, np.nan]])

    def z(values: np.ndarray, never: np.ndarray, retained: np.ndarray) -> np.ndarray:
        return (values - np.median(never)) / (np.median(retained) - np.median(never))

    tables = [facts, made.never, made.retained]
    each = [
        np.stack([z(table[:, k], made.never[:, k], made.retained[:, k]) for k in range(3)], 1)
        for table in tables
    ]
    repairs = [table[:, 1:].max(1) for table in each]
    again = [z(values, repairs[1], repairs[2]) for values in repairs]
    means = [
        np.where(np.isnan(r), table[:, 0], (table[:, 0] + r) / 2)
        for table, r in zip(each, again, strict=True)
    ]
    np.testing.assert_allclose(storage_index(facts, made)[0], z(means[0], means[1], means[2]))


def test_kinds_that_tell_nothing_do_not_enter_and_none_is_missing() -> None:
    made = anchors()
    blind = Anchors(
        never=made.never, retained=np.where([True, False, False], made.retained, made.never), kinds=KINDS
    )
    assert made.apart(0.05).all()
    assert blind.apart(0.05).tolist() == [True, False, False]
    chosen = blind.of(blind.apart(0.05))
    assert chosen.kinds == ("forms",)
    nothing = blind.of(np.zeros(3, bool))
    assert np.isnan(storage_index(np.zeros((4, 0)), nothing)).all()
    assert np.isnan(index_interval(np.zeros((4, 0)), nothing, np.arange(202))).all()


def test_the_interval_is_of_anchors_drawn_again_and_narrows_with_their_number() -> None:
    fact = np.array([[2.0, 2.0, 2.0]])
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
        some = Anchors(
            never=made.never[rows[rows < 21]], retained=made.retained[rows[rows >= 21] - 21], kinds=KINDS
        )
        drawn.append(storage_index(fact, some)[0, 0])
    slow = np.quantile(drawn, [0.025, 0.975])
    low, high = index_interval(fact, made, np.arange(42))
    assert [low[0], high[0]] == pytest.approx(slow.tolist(), abs=0.25 * widths[0])


def test_weights_stand_for_repeated_rows() -> None:
    made, facts = anchors(15), np.random.default_rng(2).normal(size=(5, 3))
    weights = np.random.default_rng(3).integers(0, 4, (6, 30)).astype(float)
    for draw, row in zip(storage_index(facts, made, weights), weights.astype(int), strict=True):
        some = Anchors(
            never=made.never.repeat(row[:15], axis=0),
            retained=made.retained.repeat(row[15:], axis=0),
            kinds=KINDS,
        )
        np.testing.assert_allclose(draw, storage_index(facts, some)[0])


def test_weighted_medians_leave_out_what_is_missing() -> None:
    values = np.array([[1.0, np.nan, 3.0, 2.0], [np.nan] * 4])
    weights = np.array([[1.0, 5, 1, 2], [1, 1, 1, 1]])
    found = weighted_median(values, weights)
    assert found[0] == 2.0
    assert np.isnan(found[1])
