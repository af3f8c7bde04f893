"""Rank statistics against scipy's own, and their bootstrap on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from analyses.common.numbers import area, area_gain, same_sign, spearman
from analyses.common.placebos import derangement, of_another
from interp.stats import rank_correlation


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=120)
    return pd.DataFrame(
        {
            "subject": [f"s{i // 3}" for i in range(120)],
            "x": x,
            "ties": np.round(x),
            "y": x + rng.normal(size=120),
            "noise": rng.normal(size=120),
            "right": x + rng.normal(size=120) > 0,
        }
    )


def test_values_are_scipys(rows: pd.DataFrame) -> None:
    assert spearman(rows, "ties", "y").value == pytest.approx(
        stats.spearmanr(rows["ties"], rows["y"]).statistic
    )
    right, wrong = rows.loc[rows["right"], "ties"], rows.loc[~rows["right"], "ties"]
    u = stats.mannwhitneyu(right, wrong).statistic
    assert area(rows, "ties", "right").value == pytest.approx(u / (len(right) * len(wrong)))
    gain = area_gain(rows, "x", "noise", "right")
    assert gain.value == pytest.approx(area(rows, "x", "right").value - area(rows, "noise", "right").value)
    assert gain.low > 0


def test_copies_of_a_subject_widen_nothing_and_rows_without_a_value_do_not_count(rows: pd.DataFrame) -> None:
    once = spearman(rows, "x", "y")
    twice = spearman(pd.concat([rows, rows], ignore_index=True), "x", "y")
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=1e-12)
    assert spearman(rows.assign(y=rows["y"].where(rows.index > 20)), "x", "y").n == 99


def test_what_is_not_defined_is_none(rows: pd.DataFrame) -> None:
    assert rank_correlation(np.ones(5), np.arange(5.0)) is None
    assert area(rows.assign(right=True), "x", "right").value is None
    assert spearman(rows[:2], "x", "y").value is None


def test_signs_agree_where_neither_is_zero() -> None:
    rows = pd.DataFrame({"subject": list("abcd"), "x": [1, -1, 1, 0], "y": [2, -3, -1, 0]})
    assert same_sign(rows, "x", "y").value == pytest.approx(0.5)


def test_a_derangement_stays_within_labels_and_moves_everyone_who_has_company() -> None:
    labels = ["a"] * 5 + ["b"] * 4 + ["c"]
    other = derangement(labels, seed=1)
    assert sorted(other) == [-1, *range(9)]
    assert all(labels[i] == labels[j] != labels[9] for i, j in enumerate(other[:9]))
    assert all(i != j for i, j in enumerate(other))
    dealt = of_another(torch.arange(10.0), labels, seed=1).tolist()
    assert dealt[:9] == other[:9]
    assert np.isnan(dealt[9]), "a row alone has no placebo, not itself as one"
