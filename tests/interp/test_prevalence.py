"""Precision at a prevalence is Bayes' rule, and the plain precision where so many cases are positive."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.common.errors import InputError
from interp.stats import estimate, precision_at


def cases(
    recall: float, false: float, positives: int = 100, negatives: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    called = np.zeros(positives + negatives)
    called[: round(recall * positives)] = 1
    called[positives : positives + round(false * negatives)] = 1
    return called, np.arange(positives + negatives) < positives


@pytest.mark.parametrize("prevalence", [0.1, 0.5, 0.9])
def test_it_is_bayes_rule_whatever_the_sample_holds(prevalence: float) -> None:
    found = precision_at(*cases(0.8, 0.05), prevalence)
    assert found.value == pytest.approx(prevalence * 0.8 / (prevalence * 0.8 + (1 - prevalence) * 0.05))
    assert found.low < found.value < found.high
    assert found.n == 400


def test_at_the_samples_own_prevalence_it_is_the_plain_precision() -> None:
    called, positive = cases(0.6, 0.1)
    assert precision_at(called, positive, 0.25).value == pytest.approx(positive[called > 0].mean())


def test_nothing_called_has_no_precision_and_missing_calls_do_not_count() -> None:
    called, positive = cases(0.0, 0.0)
    assert precision_at(called, positive, 0.5).value is None
    called, positive = cases(0.5, 0.0)
    called[-10:] = np.nan
    assert precision_at(called, positive, 0.5).value == 1
    assert precision_at(called, positive, 0.5).n == 390


def test_without_a_false_positive_the_rates_own_bounds_are_combined() -> None:
    """All draws have a precision of 1: reported as 1 (1 to 1) it held the truth in 46 of 100 samples."""
    called, positive = cases(0.8, 0.0)
    found = precision_at(called, positive, 0.1)
    recall, false = (estimate(called[kind], confidence=0.975) for kind in (positive, ~positive))
    assert found.high == found.value == 1
    assert found.low == pytest.approx(0.1 * recall.low / (0.1 * recall.low + 0.9 * false.high))
    assert false.high == pytest.approx(1 - 0.0125 ** (1 / 300))
    assert precision_at(called, positive, 0.1, groups=np.where(positive, "one", "other")).low is None


def test_it_covers_where_false_positives_are_seldom_seen() -> None:
    rng, positive = np.random.default_rng(0), np.arange(120) < 60
    truth = 0.1 * 0.63 / (0.1 * 0.63 + 0.9 * 0.01)
    found = [
        precision_at((rng.random(120) < np.where(positive, 0.63, 0.01)) + 0.0, positive, 0.1)
        for _ in range(60)
    ]
    assert np.mean([e.low <= truth <= e.high for e in found]) >= 0.93


@pytest.mark.parametrize("prevalence", [0.0, 1.0, 2.0, np.nan])
def test_a_prevalence_is_a_share(prevalence: float) -> None:
    with pytest.raises(InputError, match="give the share of positives"):
        precision_at(*cases(0.8, 0.05), prevalence)
