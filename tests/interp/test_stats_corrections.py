"""Corrections of many claims and equivalence: scipy's own, and the intervals that they must agree with."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from finetune.common.errors import InputError
from interp.stats import Estimate, adjusted, equivalence, interval_p_value, is_equivalent, over_seeds, p_value

NUMBERS = st.lists(st.floats(-1, 1).map(lambda v: round(v, 3)), min_size=2, max_size=6, unique=True)


def of(*values: float) -> list[Estimate]:
    return [Estimate(value=v, low=None, high=None, n=9) for v in values]


def test_benjamini_hochberg_is_scipys_and_leaves_out_what_was_not_measured() -> None:
    p = np.random.default_rng(0).uniform(size=20) ** 3
    for method in ("bh", "by"):
        assert adjusted(p, method=method) == pytest.approx(stats.false_discovery_control(p, method=method))
    held = adjusted([0.01, math.nan, 0.04])
    assert held == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert len(adjusted([])) == 0
    with pytest.raises(InputError, match="between 0 and 1"):
        adjusted([0.5, 5.0])


def test_holm_is_the_closed_test_of_bonferronis() -> None:
    """A hypothesis falls where every intersection that holds it does: the largest of their p-values."""
    p = np.array([0.01, 0.04, 0.03, 0.5, 0.012])
    others = [set(some) for k in range(1, 6) for some in combinations(range(5), k)]
    closed = [max(min(1, len(some) * p[list(some)].min()) for some in others if i in some) for i in range(5)]
    assert adjusted(p, method="holm") == pytest.approx(closed)
    held = adjusted([0.01, math.nan, 0.04], method="holm")
    assert held == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)


def test_of_many_nulls_few_are_found_after_correction() -> None:
    rng = np.random.default_rng(0)
    p = np.array([p_value(of(*rng.normal(size=3))) for _ in range(200)])
    assert 2 <= (p <= 0.05).sum() <= 20
    assert (adjusted(p) <= 0.05).sum() == 0


@settings(max_examples=60, deadline=None)
@given(values=NUMBERS, null=st.floats(-1, 1))
def test_p_values_are_scipys_and_decide_as_intervals_do(values: list[float], null: float) -> None:
    p = p_value(of(*values), null=null)
    assert p == pytest.approx(stats.ttest_1samp(values, null).pvalue, rel=1e-6, abs=1e-12)
    for overlap in (0.0, 0.5):
        found = over_seeds(of(*values), overlap=overlap)
        if abs(null - found.low) > 1e-9 < abs(null - found.high):
            decided = p_value(of(*values), null=null, overlap=overlap) <= 0.05
            assert decided == (not found.low < null < found.high)


@settings(max_examples=60, deadline=None)
@given(values=NUMBERS, margin=st.floats(0.01, 2))
def test_equivalence_is_two_one_sided_tests(values: list[float], margin: float) -> None:
    low = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    high = stats.ttest_1samp(values, margin, alternative="less").pvalue
    p = equivalence(of(*values), margin)
    assert p == pytest.approx(max(low, high), rel=1e-6, abs=1e-12)
    assert equivalence(of(*values), margin, overlap=0.5) >= p or p > 0.5
    found = over_seeds(of(*values), confidence=0.9)
    if min(abs(found.low + margin), abs(found.high - margin)) > 1e-9:
        assert is_equivalent(found, margin) == (p < 0.05)


def test_what_has_no_spread_has_no_p_value_and_a_margin_is_above_zero() -> None:
    assert math.isnan(p_value(of(0.2)))
    assert math.isnan(equivalence(of(0.2, 0.2), 0.1))
    assert is_equivalent(Estimate(value=0.0, low=None, high=None, n=1), 0.1) is None
    for margin in (0.0, -0.1, math.nan, math.inf):
        with pytest.raises(InputError, match="would not matter"):
            equivalence(of(0.1, 0.2), margin)


@pytest.mark.parametrize("bound", [0.0, 0.5, 2.0])
def test_the_p_value_of_an_interval_is_that_of_the_t_test_it_was_made_by(bound: float) -> None:
    seeds = [Estimate(value=v, low=None, high=None, n=9) for v in (0.2, 1.1, 0.7, 0.4)]
    oracle = stats.ttest_1samp([0.2, 1.1, 0.7, 0.4], bound).pvalue
    assert interval_p_value(over_seeds(seeds), null=bound, trainings=4) == pytest.approx(oracle)


def test_an_interval_without_bounds_has_no_p_value_nor_has_a_half_without_width() -> None:
    assert math.isnan(interval_p_value(Estimate(value=1.0, low=None, high=None, n=1)))
    point = Estimate(value=1.0, low=1.0, high=1.0, n=9)
    assert math.isnan(interval_p_value(point)), "it was 0, and stayed 0 when corrected"
    assert interval_p_value(point, null=1.0) == 1.0
    assert math.isnan(interval_p_value(Estimate(value=0.3, low=0.3, high=0.5, n=9)))
    with pytest.raises(InputError, match="choose one of bh, by, holm"):
        adjusted([0.01], method="x")  # type: ignore[arg-type]
