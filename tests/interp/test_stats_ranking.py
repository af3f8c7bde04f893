"""Weighted statistics against scikit-learn's, scipy's and numpy's own of the rows repeated as often."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray
from scipy import stats
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from interp.stats import (
    auroc,
    auroc_gain,
    estimate,
    kappa,
    median,
    roc_area,
    same_sign,
    same_sign_gain,
    shared_halves,
    spearman,
    spearman_gain,
    spearman_matrix,
)
from interp.stats.bootstrap import bootstrap
from interp.stats.weighted import (
    area_of,
    kappa_of,
    mean_of,
    median_of,
    shared_halves_of,
    spearman_matrix_of,
    within,
)

RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(60), RNG.choice([1, 2, 9], 60))
N = len(GROUPS)
X = np.round(RNG.normal(size=N), 1)
Y = np.round(X + RNG.normal(size=N), 1)
Z = RNG.normal(size=N)
RIGHT = X + RNG.normal(size=N) > 0
WEIGHTS = RNG.integers(0, 3, size=(5, N)).astype(float)


def repeated(weights: ndarray) -> ndarray:
    return np.repeat(np.arange(N), weights.astype(int))


@pytest.mark.parametrize("draw", range(5))
def test_weighted_statistics_are_the_libraries_own_of_repeated_rows(draw: int) -> None:
    w = WEIGHTS[draw : draw + 1]
    rows = repeated(w[0])
    assert mean_of(X)(w)[0] == pytest.approx(X[rows].mean())
    assert median_of(X)(w)[0] == pytest.approx(np.median(X[rows]))
    assert area_of(X, RIGHT)(w)[0] == pytest.approx(roc_auc_score(RIGHT, X, sample_weight=w[0]))
    columns = np.stack([X, Y, Z], axis=1)
    slow = stats.spearmanr(columns[rows]).statistic
    assert spearman_matrix_of(columns)(w)[..., 0] == pytest.approx(slow)
    labels = GROUPS % 3
    each = [stats.spearmanr(X[r], Y[r]).statistic for k in range(3) if len(r := rows[labels[rows] == k])]
    fast = within(lambda x, y: lambda v: spearman_matrix_of(np.stack([x, y], 1))(v)[0, 1], labels)(X, Y)
    assert fast(w)[0] == pytest.approx(np.mean(each))


def test_halves_in_common_are_those_of_many_draws_of_lots() -> None:
    """Ties at the cut are broken by lot: the expected share is the mean over many lots."""
    rng, columns = np.random.default_rng(1), np.stack([np.round(X), np.round(Y)], axis=1)
    rows = repeated(WEIGHTS[0])
    n, shares = len(rows), []
    for _ in range(400):
        chance = []
        for column in columns.T:
            ranks = np.lexsort((rng.random(n), column[rows]))
            place = np.empty(n)
            place[ranks] = np.arange(n)
            chance.append(np.clip(place - (n / 2 - 1), 0, 1))  # the middle row of an odd number counts half
        shares.append((chance[0] * chance[1]).sum() / (n / 2))
    fast = shared_halves_of(columns)(WEIGHTS[:1])[0, 1, 0]
    assert fast == pytest.approx(np.mean(shares), abs=4 * np.std(shares) / 20 + 1e-3)
    assert shared_halves_of(np.stack([Z, Z], axis=1))(np.ones((1, N)))[0, 1, 0] == pytest.approx(1, abs=1 / N)


def test_values_are_the_libraries_own() -> None:
    assert auroc(X, RIGHT, groups=GROUPS).value == pytest.approx(roc_auc_score(RIGHT, X), abs=1e-14)
    assert spearman(X, Y, groups=GROUPS).value == stats.spearmanr(X, Y).statistic
    assert median(X, groups=GROUPS).value == np.median(X)
    assert same_sign(X, Y, groups=GROUPS).value == (X * Y > 0).mean()
    gain = roc_auc_score(RIGHT, X) - roc_auc_score(RIGHT, Z)
    assert auroc_gain(X, Z, RIGHT, groups=GROUPS).value == pytest.approx(gain, abs=1e-14)
    more = stats.spearmanr(X, Y).statistic - stats.spearmanr(Z, Y).statistic
    assert spearman_gain(X, Z, Y, groups=GROUPS).value == pytest.approx(more)
    assert same_sign_gain(X, Z, Y).value == pytest.approx((X * Y > 0).mean() - (Z * Y > 0).mean())
    matrix = spearman_matrix(np.stack([X, Y, Z], axis=1), groups=GROUPS)
    assert matrix[0][1] == spearman(X, Y, groups=GROUPS)
    assert matrix[1][0].value == matrix[0][1].value
    halves = shared_halves(np.stack([X, Y], axis=1), groups=GROUPS)
    assert halves[0][1].low < halves[0][1].value < halves[0][1].high


def test_an_area_is_a_whole_number_of_half_pairs() -> None:
    """The Mann-Whitney count over the pairs, to the last bit."""
    right, wrong = X[RIGHT], X[~RIGHT]
    u = stats.mannwhitneyu(right, wrong).statistic
    assert roc_area(X, RIGHT) == float(u) / (len(right) * len(wrong))


def test_draws_of_weights_are_draws_of_rows() -> None:
    """A slower way: concatenate the drawn subjects' rows, and let scipy correlate them."""
    low, high = bootstrap(
        lambda w: spearman_matrix_of(np.stack([X, Y], 1))(w)[0, 1], GROUPS, method="percentile"
    )
    rng, drawn = np.random.default_rng(0), []
    members = [np.flatnonzero(g == GROUPS) for g in np.unique(GROUPS)]
    for _ in range(2000):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        drawn.append(np.corrcoef(stats.rankdata(X[rows]), stats.rankdata(Y[rows]))[0, 1])
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_what_is_not_defined_has_no_value_and_draws_that_are_not_are_left_out() -> None:
    assert auroc(X, np.ones(N)).value is None
    assert spearman(np.ones(N), Y).value is None
    assert spearman(X[:2], Y[:2]).value is None
    assert auroc(X[:12], np.arange(12) % 3 == 1).low is None  # of four positives no interval holds the truth
    few = auroc(X[:12], np.arange(12) % 2 == 1)
    assert few.low <= few.value <= few.high
    hidden = np.where(np.median(X) < X, np.inf, X)
    assert auroc(hidden, RIGHT).value == auroc(np.minimum(hidden, X.max() + 1), RIGHT).value
    both = auroc(X, np.where(GROUPS % 2 == 0, True, RIGHT), groups=GROUPS, labels=GROUPS % 2)
    odd = GROUPS % 2 == 1
    assert both.value == auroc(X[odd], RIGHT[odd]).value
    assert auroc(X, RIGHT, groups=np.zeros(N)).low is None


def test_signs_that_all_agree_have_the_exact_bound_of_a_share() -> None:
    signs = same_sign(np.ones(30), np.ones(30))
    assert (signs.value, signs.high) == (1.0, 1.0)
    assert signs.low == estimate(np.ones(30)).low < 0.9


def test_kappa_of_draws_is_that_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, 40).astype(float)
    y = np.where(rng.random(40) < 0.6, x, rng.integers(0, 3, 40))
    found = kappa(x, y)
    assert found.value == pytest.approx(cohen_kappa_score(x, y))
    assert found.low < found.value < found.high
    weights = rng.integers(0, 4, (5, 40))
    for draw, row in zip(kappa_of(x, y)(weights.astype(float)), weights, strict=True):
        assert draw == pytest.approx(cohen_kappa_score(x.repeat(row), y.repeat(row)))
    assert kappa(np.zeros(9), np.zeros(9)).value is None
    labels = np.arange(40) % 2
    halves = [cohen_kappa_score(x[labels == k], y[labels == k]) for k in (0, 1)]
    assert kappa(x, y, labels=labels).value == pytest.approx(np.mean(halves))
    none = np.where(labels == 1, np.nan, x)
    assert kappa(none, y, labels=labels).value == pytest.approx(halves[0]), "a label without rows is left out"


def test_a_perfect_area_has_the_exact_bound_of_its_rarer_kind() -> None:
    """It was 1 (1 to 1): that n disjoint pairs are all ranked right has at most the probability area^n."""
    right = np.arange(9) > 5
    found = auroc(np.arange(9.0), right)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 3))
    turned = auroc(-np.arange(9.0), right)
    assert (turned.low, turned.value, turned.high) == (0, 0, pytest.approx(1 - found.low))
    both = auroc(np.tile(np.arange(9.0), 2), np.tile(right, 2), labels=np.repeat(["a", "b"], 9))
    assert both.low == found.low
    people = auroc(np.arange(8.0), np.arange(8) > 3, groups=np.tile(list("abcd"), 2))
    assert people.low == pytest.approx(0.025 ** (1 / 2)), "each person is in one pair alone"


def test_statistics_that_no_draw_changes_have_no_interval() -> None:
    line = np.arange(12.0)
    for found in (
        spearman(line, line),
        kappa(np.arange(12.0) % 2, np.arange(12.0) % 2),
        auroc_gain(line, line, line > 5),
        spearman_gain(line, line, line),
        spearman(X[:4], Z[:4]),
    ):
        assert found.value is not None
        assert (found.low, found.high) == (None, None)
    gain = same_sign_gain(np.ones(9), -np.ones(9), np.ones(9))
    assert (gain.value, gain.high) == (1, 1)
    assert gain.low == estimate(np.ones(9), difference=True).low < 0.7


def test_a_row_that_is_neither_positive_nor_negative_is_left_out() -> None:
    values, positive = np.array([5.0, 1.0, 2.0, 3.0, 9.0]), [True, False, True, False, np.nan]
    found = auroc(values, np.array(positive, dtype=object))
    assert (found.value, found.n) == (0.75, 4), "NaN counted as positive"


def test_infinite_values_are_ranked_like_any() -> None:
    finite, groups = np.array([1.0, 2, 3, 5, 6, 7, 8]), np.arange(7)
    infinite = np.where(finite > 5, np.inf, finite)
    assert median(infinite, groups=groups).low == median(finite, groups=groups).low
    assert auroc(-infinite, finite < 4).value == 1.0


@pytest.mark.parametrize(("positives", "lowest"), [(5, 0.86), (15, 0.9)])
def test_areas_over_few_positives_cover_the_truth(positives: int, lowest: float) -> None:
    rng, covered, trials = np.random.default_rng(0), 0, 100
    for _ in range(trials):
        values = np.r_[rng.normal(1, 1, positives), rng.normal(0, 1, 100)]
        found = auroc(values, np.arange(positives + 100) < positives)
        covered += found.low <= stats.norm.cdf(1 / np.sqrt(2)) <= found.high
    assert covered / trials >= lowest
