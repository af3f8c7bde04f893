"""Calibration: the stated rate is reached on fresh controls, and shares are what counting gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from interp.verdicts.calibration import calibrate, leave_one_out, strength


def controls(n: int, kinds: int = 3, seed: int = 0) -> np.ndarray:
    """Draw dependent kinds of evidence, some of it missing."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, kinds)) + rng.normal(size=(n, 1))
    values[rng.random((n, kinds)) < 0.1] = np.nan
    return values


def test_the_stated_rate_is_reached_on_fresh_controls() -> None:
    rates = []
    for seed in range(20):
        values = controls(800, seed=seed)
        made = calibrate(values, np.arange(800) < 400, alpha=0.05)
        rates.append(made.false_positives.value)
        assert made.false_positives.n <= 400
    assert np.mean(rates) == pytest.approx(0.05, abs=0.01)


def test_strength_is_the_harmonic_mean_of_tail_shares() -> None:
    known = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, np.nan]])
    shares = [(1 + 2) / 5, (1 + 0) / 4]  # two of four are at least 1.5, none of three above 2.5
    expected = -math.log(2 / (1 / shares[0] + 1 / shares[1]))
    assert strength(np.array([[1.5, 2.5]]), known)[0] == pytest.approx(expected)


def test_missing_kinds_do_not_count_and_none_at_all_is_missing() -> None:
    known = controls(200)
    one = strength(np.array([[1.0, np.nan, np.nan]]), known)
    assert one[0] == pytest.approx(strength(np.array([[1.0]]), known[:, :1])[0])
    assert np.isnan(strength(np.full((1, 3), np.nan), known)[0])


def test_a_controls_own_strength_counts_itself_once() -> None:
    known = controls(50)
    mine = leave_one_out(known)
    for i in range(len(known)):
        if not np.isnan(known[i]).all():
            others = np.delete(known, i, axis=0)
            assert mine[i] == pytest.approx(strength(known[i : i + 1], others)[0])


def test_one_kind_that_no_control_reaches_is_enough() -> None:
    known = np.random.default_rng(0).normal(size=(400, 5))
    made = calibrate(known, np.arange(400) < 200, alpha=0.05)
    lone = np.array([[9.0, -1.0, -1.0, -1.0, -1.0]])
    assert made.strength(lone)[0] > made.threshold > made.doubt
