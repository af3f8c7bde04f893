"""Precision at a prevalence is Bayes' rule, and the plain precision where so many cases are positive."""

from __future__ import annotations

import numpy as np
import pytest

from interp.stats import precision_at


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
