"""Every estimate lies inside its own interval, and both are of one estimator: properties and slower ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.common.numbers import area, area_gain, mean, paired_difference, same_sign, spearman
from analyses.common.summary import head_means
from analyses.experiments.popularity_proxies.numbers import agreement
from finetune.common.errors import InputError
from interp import stats
from interp.measures.head_changes import Imbalance, rank_heads
from interp.stats import (
    Estimate,
    auroc,
    difference_of_means,
    estimate,
    make_estimate,
    mean_by_cell,
    mean_p_values,
    median,
    over_seeds,
)

CLOSE = 1e-9
MANY = settings(max_examples=60, deadline=None)
SOME = settings(max_examples=20, deadline=None)
KINDS = {
    "share": st.sampled_from([0.0, 1.0]),
    "mass": st.floats(0, 1),
    "difference": st.sampled_from([-1.0, 0.0, 1.0]),
    "nats": st.floats(-1e6, 1e6),
    "tiny": st.floats(-1e-300, 1e-300),
    "near a constant": st.floats(0.3, math.nextafter(0.3, 1)),
}


@st.composite
def clustered(draw: st.DrawFn, most: int = 12) -> pd.DataFrame:
    """Draw facts of a few subjects, one of which may have a hundred: values of any kind, and a label."""
    sizes = draw(st.lists(st.sampled_from([1, 1, 1, 2, 5, 100]), min_size=1, max_size=most))
    subject = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    n = len(subject)
    columns = {}
    for name in ("x", "y"):
        kind = draw(st.sampled_from(sorted(KINDS)))
        few = np.array(draw(st.lists(KINDS[kind], min_size=1, max_size=6)))
        # A subject's facts vary together as often as not.
        by_subject = draw(st.booleans())
        place = np.repeat(np.arange(len(sizes)), sizes) if by_subject else np.arange(n)
        columns[name] = few[place % len(few)]
    right = np.resize(np.array(draw(st.lists(st.booleans(), min_size=1, max_size=7))), n)
    return pd.DataFrame({"fact_id": np.arange(n).astype(str), "subject": subject, "right": right, **columns})


def is_consistent(found: Estimate) -> bool:
    """Whether an estimate holds what every one promises; the bounds exactly, not up to rounding."""
    if found.value is None or found.low is None or found.high is None:
        without = found.low is None and found.high is None
        return without and (found.value is None or math.isfinite(found.value))
    return math.isfinite(found.value) and found.low <= found.value <= found.high


ESTIMATORS: dict[str, Callable[[pd.DataFrame], Estimate]] = {
    "estimate": lambda f: estimate(f["x"].to_numpy(), groups=f["subject"].to_numpy()),
    "without groups": lambda f: estimate(f["x"].to_numpy()),
    "difference": lambda f: estimate(f["x"].to_numpy(), groups=f["subject"].to_numpy(), difference=True),
    "mean": lambda f: mean(f, "x"),
    "share": lambda f: estimate(f["right"].to_numpy(float), groups=f["subject"].to_numpy()),
    "median": lambda f: median(f["x"].to_numpy(), groups=f["subject"].to_numpy()),
    "auroc": lambda f: auroc(f["x"].to_numpy(), f["right"].to_numpy(), groups=f["subject"].to_numpy()),
    "area": lambda f: area(f, "x", "right"),
    "area_gain": lambda f: area_gain(f, "x", "y", "right"),
    "spearman": lambda f: spearman(f, "x", "y"),
    "same_sign": lambda f: same_sign(f, "x", "y"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@MANY
@given(frame=clustered())
def test_an_estimate_lies_inside_its_own_interval(name: str, frame: pd.DataFrame) -> None:
    found = ESTIMATORS[name](frame)
    assert is_consistent(found)
    assert found.n == len(frame)


@SOME
@given(frame=clustered())
def test_paired_differences_do_too(frame: pd.DataFrame) -> None:
    both = pd.concat([frame.assign(arm=arm, value=frame[arm]) for arm in ("x", "y")], ignore_index=True)
    found = paired_difference(both, {"arm": "x"}, {"arm": "y"}, "value")
    assert is_consistent(found)
    assert found.n == len(frame)
    assert found.value == pytest.approx((frame["x"] - frame["y"]).mean(), rel=1e-9, abs=1e-9)


@MANY
@given(
    values=st.lists(st.one_of(st.none(), st.floats(0, 1), st.just(1.0)), min_size=1, max_size=6),
    width=st.floats(0, 0.3),
)
def test_means_over_seeds_do_too_and_stay_in_their_bounds(values: list[float | None], width: float) -> None:
    each = [
        Estimate(value=v, low=None if v is None else v - width, high=None if v is None else v + width, n=9)
        for v in values
    ]
    found = over_seeds(each, bounds=(0, 1))
    assert is_consistent(found)
    assert found.n == sum(v is not None for v in values)
    assert is_consistent(over_seeds(each))


@SOME
@given(frame=clustered(), seed=st.integers(0, 5))
def test_every_cell_of_a_table_does_too_and_is_what_estimate_gives(frame: pd.DataFrame, seed: int) -> None:
    subjects = frame["subject"].to_numpy()
    cells = np.stack([frame["x"], frame["y"], frame["x"] * 0.5, frame["right"]], axis=1).astype(float)
    value, low, high = mean_by_cell(cells.reshape(-1, 2, 2), groups=subjects, seed=seed)
    assert value.shape == (2, 2)
    for k, (v, a, b) in enumerate(zip(value.ravel(), low.ravel(), high.ravel(), strict=True)):
        alone = estimate(cells[:, k], groups=subjects, share=False, seed=seed)
        size = np.abs(cells[:, k]).max() * CLOSE + 1e-300
        assert v == pytest.approx(alone.value, abs=size)
        if alone.low is None:
            assert np.isnan([a, b]).all()
            continue
        assert a <= v <= b
        assert (a, b) == pytest.approx((alone.low, alone.high), abs=size)


@SOME
@given(frame=clustered())
def test_maps_and_rankings_of_heads_do_too(frame: pd.DataFrame) -> None:
    mass = np.abs(np.stack([frame["x"], frame["y"]], axis=1))[:, None, :]
    told = head_means(frame.assign(arm="top", seed=0), {"top": mass})
    if "top" in told["low"]:
        assert (np.array(told["low"]["top"]) <= np.array(told["arms"]["top"])).all()
        assert (np.array(told["arms"]["top"]) <= np.array(told["high"]["top"])).all()
    else:
        means = frame.assign(x=mass[:, 0, 0], y=mass[:, 0, 1]).groupby("subject")[["x", "y"]].mean()
        assert len(means) == 1 or (means.max() - means.min() <= means.max() * CLOSE).any()
    change = torch.from_numpy(mass)
    ids = tuple(frame["fact_id"])
    ranking = rank_heads(
        Imbalance(values=change, raw=change, fact_ids=ids),
        groups=list(frame["subject"]),
        permutations=50,
    )
    assert not (ranking.low > ranking.change).any()
    assert not (ranking.change > ranking.high).any()


@settings(max_examples=8, deadline=None)
@given(frame=clustered(most=6))
def test_agreements_of_proxies_do_too(frame: pd.DataFrame) -> None:
    rows = frame.assign(relation="r", z=frame["x"].round(1))
    if len(rows) < 3:
        return
    for part in agreement(rows, ["x", "y", "z"]).values():
        for row in part.values():
            for number in row.values():
                assert is_consistent(Estimate(**number))


def test_a_map_of_heads_on_skewed_subjects_holds_its_own_mean() -> None:
    """One subject with 300 facts, thirty with one: the interval was of the subjects' mean, 0.090 to 0.219."""
    rng = np.random.default_rng(0)
    subject = np.array(["many"] * 300 + [f"s{i}" for i in range(30)])
    mass = np.where(subject == "many", 0.8, 0.15) + 0.02 * rng.normal(size=330)
    frame = pd.DataFrame({"seed": 0, "arm": "top", "subject": subject})
    told = head_means(frame, {"top": mass[:, None, None]})
    value, low, high = (told[key]["top"][0][0] for key in ("arms", "low", "high"))
    assert value == pytest.approx(mass.mean(), abs=1e-5)
    assert low < value < high
    assert low < 0.2, "a draw may lack the subject that has nearly all facts"
    alone = estimate(mass, groups=subject)
    assert (low, high) == pytest.approx((alone.low, alone.high), abs=1e-5)


def test_intervals_of_heads_cover_the_mean_over_facts_where_sizes_say_something() -> None:
    """Subjects with more facts have larger changes: the interval is to cover the mean over facts."""
    rng = np.random.default_rng(1)
    covered, trials = 0, 100
    for _ in range(trials):
        sizes = rng.choice([1, 10], size=60, p=[0.8, 0.2])
        subject = np.repeat(np.arange(60), sizes)
        level = np.where(sizes == 10, 0.9, 0.1) + 0.2 * rng.normal(size=60)
        values = torch.from_numpy(level[subject])[:, None, None]
        ranking = rank_heads(
            Imbalance(values=values, raw=values, fact_ids=tuple(map(str, range(len(values))))),
            groups=list(subject),
            permutations=50,
        )
        truth = (0.8 * 0.1 + 0.2 * 10 * 0.9) / (0.8 + 0.2 * 10)
        covered += float(ranking.low) <= truth <= float(ranking.high)
    assert 0.86 <= covered / trials <= 1


def test_a_difference_of_two_shares_is_what_an_area_says() -> None:
    """Of values 0 and 1 the area under the ROC curve is 1/2 + half the difference of the shares."""
    rng = np.random.default_rng(0)
    first, groups = np.arange(300) < 120, rng.integers(0, 90, 300)
    values = (rng.random(300) < np.where(first, 0.7, 0.2)).astype(float)
    found, area = difference_of_means(values, first, groups=groups), auroc(values, first, groups=groups)
    assert found.n == 120
    assert found.value == pytest.approx(2 * area.value - 1, abs=1e-9)
    # The area's interval is widened for the groups of the rarer kind, by 1% here.
    outside = found.low - (2 * area.low - 1), (2 * area.high - 1) - found.high
    assert all(-1e-9 <= more < 0.01 for more in outside)
    values[:3] = np.nan
    assert difference_of_means(values, first, groups=groups).n == 117
    assert difference_of_means(values, np.ones(300, bool), groups=groups).value is None


def test_a_side_that_no_draw_changes_has_an_interval_all_the_same() -> None:
    """Newcombe's example of two proportions, with the sides' own intervals in the place of Wilson's."""
    values, first = np.array([1.0] * 5 + [0.0] * 15 + [0.0] * 7), np.arange(27) < 20
    names = np.arange(27)
    found = difference_of_means(values, first, groups=names)
    sides = [estimate(values[some], groups=names[some]) for some in (first, ~first)]
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - np.hypot(0.25 - sides[0].low, sides[1].high))
    assert found.high == pytest.approx(0.25 + (sides[0].high - 0.25))
    assert found.low < 0 < found.high
    alone = difference_of_means(np.array([1.0, 0, 0, 0]), np.arange(4) == 0, groups=np.arange(4))
    assert (alone.value, alone.low, alone.high, alone.n) == (1, None, None, 1)
    nothing = difference_of_means(np.zeros(47), np.arange(47) < 30, groups=np.arange(47))
    assert nothing.low < 0 < nothing.high


@pytest.mark.parametrize("k", [2, 3, 4, 6, 12])
def test_intervals_over_few_subjects_cover_as_often_as_they_say(k: int) -> None:
    """Bootstraps of 2, 3 and 4 subjects held the truth in 47, 72 and 79 of 100 tables."""
    rng, covered, halves = np.random.default_rng(k), 0, 0
    subject = np.repeat(np.arange(k), 10)
    for _ in range(300):
        own, other = rng.normal(size=(2, k))
        values = own[subject] + 0.5 * rng.normal(size=10 * k)
        found = estimate(values, groups=subject, share=False)
        covered += found.low <= 0 <= found.high
        values[::2] += other[subject][::2]
        half = difference_of_means(values, np.arange(10 * k) % 2 == 0, groups=subject)
        halves += half.low <= 0 <= half.high
    assert covered / 300 >= 0.92
    assert halves / 300 >= 0.92


def test_the_interval_over_few_subjects_of_one_fact_each_is_scipys_t() -> None:
    values = np.array([0.2, -0.1, 0.4, 1.3])
    low, high = scipy.stats.t.interval(0.95, 3, loc=values.mean(), scale=scipy.stats.sem(values))
    found = estimate(values, share=False)
    assert (found.low, found.high) == pytest.approx((low, high))
    _, *bounds = mean_by_cell(values[:, None])
    assert np.ravel(bounds) == pytest.approx((low, high))
    oracle = scipy.stats.ttest_1samp(values, 0, alternative="greater").pvalue
    assert mean_p_values(values, side="above") == pytest.approx(oracle)
    assert mean_p_values(np.stack([values, -values], 1), side="below")[1] == pytest.approx(oracle)


def test_subjects_that_do_not_differ_tell_of_no_interval() -> None:
    """Each person has one fact right and one wrong: all draws are equal, and say nothing of other people."""
    for people in (2, 12, 24):
        found = estimate(np.tile([1.0, 0.0], people), groups=np.repeat(np.arange(people), 2))
        assert (found.value, found.low, found.high) == (0.5, None, None)
    even = estimate(np.tile([1.0, -1.0], 12), groups=np.repeat(np.arange(12), 2), difference=True)
    assert even == replace(estimate(np.zeros(12), difference=True), n=24), (
        "exact, as of 12 people without a change"
    )


@pytest.mark.parametrize("people", [19, 20])
def test_a_mean_over_fewer_than_twenty_subjects_has_students_t(people: int) -> None:
    values = np.random.default_rng(people).normal(size=people)
    found = estimate(values, share=False)
    half = scipy.stats.t.ppf(0.975, people - 1) * values.std(ddof=1) / math.sqrt(people)
    expected = pytest.approx((values.mean() - half, values.mean() + half))
    assert ((found.low, found.high) == expected) == (people < 20)


def test_a_mask_of_numbers_is_the_mask_that_it_looks_like() -> None:
    values, groups = np.array([1.0, 0.0, 1.0, 0.5]), np.arange(4)
    numbers = difference_of_means(values, np.array([1, 1, 0, 0]), groups=groups)
    assert numbers == difference_of_means(values, np.array([True, True, False, False]), groups=groups)
    assert numbers.value == -0.25
    with pytest.raises(InputError, match="1 of 4 numbers are infinite"):
        difference_of_means(np.array([np.inf, 0, 1, 0.5]), np.array([1, 1, 0, 0]), groups=groups)


def test_tables_without_facts_or_cells_have_no_means() -> None:
    for shape in ((0, 2, 3), (3, 0)):
        for numbers in mean_by_cell(np.zeros(shape)):
            assert numbers.shape == shape[1:]
            assert np.isnan(numbers).all()


def test_settings_of_an_estimate_are_refused_in_one_line() -> None:
    ones = np.array([1.0, 0.0, 1.0])
    for options, problem in (
        ({"groups": [None, "a", "b"]}, "groups: 1 of 3 rows have none"),
        ({"confidence": 95}, "confidence = 95"),
    ):
        with pytest.raises(InputError, match=problem):
            estimate(ones, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"a column of shape \(3, 1\)"):
        estimate(ones[:, None])
    with pytest.raises(InputError, match="1 of 4 rows lack a value"):
        stats.shared_halves(np.array([[1.0, 2.0], [np.nan, 3.0], [2.0, 4.0], [3.0, 9.0]]))


def test_missing_values_are_left_out_and_counted() -> None:
    x = np.array([0.1, np.nan, 0.4, 0.9, 0.2, np.nan])
    right = np.array([0, 1, 0, 1, 1, 0])
    kept = ~np.isnan(x)
    assert auroc(x, right) == auroc(x[kept], right[kept])
    assert auroc(x, right).n == 4
    assert estimate(x).n == 4
    assert over_seeds([Estimate(value=v, low=None, high=None, n=1) for v in (0.2, math.nan, 0.4)]).n == 2
    rows = pd.DataFrame({"subject": list("abcdef"), "x": x, "y": x[::-1]})
    assert spearman(rows, "x", "y").n == 2


def test_nats_that_are_all_zero_have_no_interval_of_a_share() -> None:
    """An uncured model's change of log-probability is zero by construction: so are its bounds."""
    nothing = np.zeros(30)
    assert estimate(nothing, share=False) == Estimate(value=0.0, low=0.0, high=0.0, n=30)
    assert estimate(nothing).high > 0.1
    rows = pd.DataFrame({"subject": [f"s{i}" for i in range(30)], "nats": nothing})
    assert mean(rows, "nats", share=False).high == 0.0
    assert mean(rows.assign(nats=1.0), "nats", share=False).low == 1.0


def test_what_has_no_mean_is_refused() -> None:
    with pytest.raises(InputError, match="1 of 3 numbers are infinite"):
        estimate(np.array([0.0, -np.inf, 1.0]))
    with pytest.raises(InputError, match="infinite"):
        over_seeds([Estimate(value=v, low=None, high=None, n=1) for v in (0.0, math.inf)])
    with pytest.raises(InputError, match="2 of 3 facts have a number that is none"):
        mean_by_cell(np.array([[0.0, np.nan], [np.inf, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("function", "columns"),
    [
        (stats.estimate, 1),
        (stats.mean_by_cell, 1),
        (stats.median, 1),
        (stats.difference_of_means, 2),
        (stats.auroc, 2),
        (stats.detection_rate, 2),
        (stats.spearman, 2),
        (stats.kappa, 2),
        (stats.same_sign, 2),
        (stats.auroc_gain, 3),
        (stats.spearman_gain, 3),
        (stats.same_sign_gain, 3),
    ],
)
def test_columns_of_other_lengths_are_refused(function: Callable[..., Any], columns: int) -> None:
    rows = [np.array([0.0, 1.0, 1.0, 0.0, 1.0]) for _ in range(columns)]
    if function is stats.difference_of_means:
        rows[1] = rows[1] > 0
    groups = np.array(list("abcde"))
    function(*rows, groups=groups)
    with pytest.raises(InputError, match="give each a value a row"):
        function(*rows, groups=groups[:4])
    for matrix in (stats.spearman_matrix, stats.shared_halves):
        with pytest.raises(InputError, match="give each a value a row"):
            matrix(np.zeros((2, 2)), groups=groups)
    for plain in (stats.roc_area, stats.rank_correlation):
        with pytest.raises(InputError, match="give each a value a row"):
            plain(rows[0], np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="give each a value a row"):
        stats.precision_at(rows[0], rows[0][:4] > 0, 0.5)
    if columns > 1:
        with pytest.raises(InputError, match="give each a value a row"):
            function(*rows[:-1], rows[-1][:4], groups=groups)
    if function in (stats.auroc, stats.spearman, stats.auroc_gain):
        with pytest.raises(InputError, match="give each a value a row"):
            function(*rows, groups=groups, labels=groups[:4])


def test_bounds_are_widened_to_the_value_and_never_invented() -> None:
    assert make_estimate(0.5, 0.6, 0.7, 3) == Estimate(value=0.5, low=0.5, high=0.7, n=3)
    assert make_estimate(0.5, 0.3, 0.4, 3) == Estimate(value=0.5, low=0.3, high=0.5, n=3)
    assert make_estimate(0.5, None, 0.4, 3) == Estimate(value=0.5, low=None, high=None, n=3)
    assert make_estimate(0.5, math.nan, math.nan, 3) == Estimate(value=0.5, low=None, high=None, n=3)
