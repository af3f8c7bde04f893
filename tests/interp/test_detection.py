"""Detection: a cut that controls exceed as rarely as is said, and intervals that know it was drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from interp.stats.detection import control_cut, detection_rate

FEWEST = 19  # controls, of which 5% can be exceeded by none


@pytest.mark.parametrize("n", [19, 20, 40, 80])
def test_a_further_control_exceeds_the_cut_in_5_of_100_cases_at_most(n: int) -> None:
    rng = np.random.default_rng(n)
    above = [rng.normal() > control_cut(rng.normal(size=n)) for _ in range(4000)]
    assert 0.03 < np.mean(above) < 0.06


def test_too_few_controls_make_no_cut_and_no_share() -> None:
    few = np.arange(FEWEST - 1.0)
    assert math.isinf(control_cut(few))
    assert control_cut(np.arange(float(FEWEST))) == FEWEST - 1
    values, control = np.r_[few, 9.0, 9.0], np.arange(len(few) + 2) < len(few)
    assert detection_rate(values, control, groups=np.arange(len(values))).value is None
    assert detection_rate(values, np.ones(len(values), bool), groups=np.arange(len(values))).value is None


def test_the_share_is_counted_and_another_predictor_is_paired() -> None:
    rng = np.random.default_rng(0)
    values, control = rng.normal(size=100) + 1.5 * (np.arange(100) < 60), np.arange(100) >= 60
    stated = (np.arange(100) % 4 == 0).astype(float)
    above = values[:60] > sorted(values[60:])[38]  # the 39th of 40: 0.95 * 41 = 38.95
    groups = np.arange(100)
    found = detection_rate(values, control, groups=groups)
    assert (found.value, found.n) == (pytest.approx(above.mean()), 60)
    assert found.low < found.value < found.high
    missing = np.where(np.arange(100) < 10, np.nan, values)
    assert detection_rate(missing, control, groups=groups) == detection_rate(
        values[10:], control[10:], groups=groups[10:]
    )
    gain = detection_rate(values, control, groups=groups, less=stated)
    assert gain.value == pytest.approx(above.mean() - stated[:60].mean())


def test_what_is_like_the_controls_is_not_told_from_them() -> None:
    """With the cut taken as known, 9 of 100 such tables of 40 controls said that it was."""
    rng, told = np.random.default_rng(1), 0
    for seed in range(60):
        values, control = rng.normal(size=100), np.arange(100) >= 60
        chance = np.where(control, 0.0, rng.random(100) < 0.05)
        found = detection_rate(values, control, groups=np.arange(100), less=chance, seed=seed)
        told += found.low is not None and found.low > 0
    assert told <= 4
