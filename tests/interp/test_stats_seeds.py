"""Intervals over trainings: scipy's t, shares on the logit scale, and what they cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

from interp.stats import TEST_OVER_TRAIN, Estimate, over_seeds, overlap_of


def of(*values: float) -> list[Estimate]:
    return [Estimate(value=v, low=None, high=None, n=9) for v in values]


def test_a_share_is_symmetric_on_the_logit_scale() -> None:
    found = over_seeds(of(0.97, 0.99, 1.0), bounds=(0, 1))
    assert 0 < found.low < found.value < found.high < 1
    assert logit(found.high) - logit(found.value) == pytest.approx(logit(found.value) - logit(found.low))
    percent = over_seeds(of(97, 99, 100), bounds=(0, 100))
    assert (percent.low, percent.high) == pytest.approx((100 * found.low, 100 * found.high))
    # Turned round, wrong in place of right, it is the same interval.
    wrong = over_seeds(of(0.03, 0.01, 0.0), bounds=(0, 1))
    assert (1 - wrong.high, 1 - wrong.low) == pytest.approx((found.low, found.high))
    middle = over_seeds(of(0.499, 0.5, 0.501), bounds=(0, 1))
    assert middle.high == pytest.approx(over_seeds(of(0.499, 0.5, 0.501)).high, abs=1e-5)


def test_other_quantities_have_scipys_t() -> None:
    values = (0.2, -0.1, 0.4, 0.1)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    for bounds in ((-1, 1), (-np.inf, np.inf)):
        found = over_seeds(of(*values), bounds=bounds)
        assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("level", [0.0, 2.0, 4.0])
def test_intervals_of_shares_cover_the_mean_over_trainings(k: int, level: float) -> None:
    """Trainings whose shares differ on the logit scale: cut off near 1, one would be too short."""
    rng = np.random.default_rng(0)
    truth = expit(level + 0.4 * rng.normal(size=200_000)).mean()
    shares = expit(level + 0.4 * rng.normal(size=(400, k)))
    found = [over_seeds(of(*row), bounds=(0, 1)) for row in shares]
    assert 0.91 <= np.mean([e.low <= truth <= e.high for e in found]) <= 1


def test_overlapping_splits_have_the_corrected_resampled_t() -> None:
    """Nadeau and Bengio's: the variance over splits times 1 / k + n_test / n_train."""
    values = np.array([0.2, -0.1, 0.4])
    scale = np.sqrt(values.var(ddof=1) * (1 / 3 + 0.3 / 0.6))
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=scale)
    found = over_seeds(of(*values), overlap=0.3 / 0.6)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_it_covers_where_the_plain_t_does_not() -> None:
    """Splits of one sample of noise: predicting its mean loses to predicting 0, by a known amount."""
    rng, plain, corrected = np.random.default_rng(0), 0, 0
    for _ in range(200):
        noise = rng.normal(size=90)
        found = []
        for _ in range(30):
            order = rng.permutation(90)
            train, test = order[:60], order[60:]
            gain = noise[test] ** 2 - (noise[test] - noise[train].mean()) ** 2
            found.append(float(gain.mean()))
        truth = -1 / 60  # what estimating the mean from 60 numbers costs
        both = [over_seeds(of(*found), overlap=overlap) for overlap in (0.0, 30 / 60)]
        inside = [e.low <= truth <= e.high for e in both]
        plain, corrected = plain + inside[0], corrected + inside[1]
    assert plain / 200 < 0.85 < corrected / 200


def test_rows_say_how_far_splits_overlap() -> None:
    assert overlap_of(pd.DataFrame({"seed": [0]})) == 0
    assert overlap_of(pd.DataFrame({TEST_OVER_TRAIN: [0.5, np.nan, 0.4]})) == 0.5
    assert overlap_of(pd.DataFrame({TEST_OVER_TRAIN: [np.nan]})) == 0


def test_seeds_that_differ_by_rounding_are_one_number() -> None:
    own = [Estimate(value=v, low=0.2, high=0.4, n=50) for v in (0.1 + 0.2, 0.3, 0.3)]
    pooled = over_seeds(own, bounds=(0, 1))
    assert (pooled.low, pooled.high) == (0.2, 0.4)
