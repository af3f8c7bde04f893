"""Controls of a verdict: who they are, that they are like lost facts, and what is said of too few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.common.errors import InputError
from finetune.data.prompts import Prompt
from finetune.data.records.fact import Fact
from interp.verdicts.base_knowledge import KnownFacts
from interp.verdicts.controls import CONTROLS, control_sets
from interp.verdicts.diagnosis import NEVER_STORED, RETAINED, KnownAndSaid, judge, rates
from interp.verdicts.matching import ENOUGH_CONTROLS, likeness, match
from interp.verdicts.preconditions import FEWEST_FACTS, require_comparable_facts

SETS = list(CONTROLS)


def facts(n: int, *, popularity: bool = True) -> list[Fact]:
    rng = np.random.default_rng(0)
    answers = np.minimum(rng.zipf(1.6, n), 30)
    return [
        Fact(
            id=str(i),
            subject=f"s{i}",
            relation="r",
            answers=(f"a{answers[i]}",),
            popularity=float(i) if popularity else None,
        )
        for i in range(n)
    ]


def told(n: int, *, lost: int = 30, partly: int = 200, never: int = 200) -> KnownAndSaid:
    """Facts in this order: lost, stated in some form only, never stored, and known and right."""
    kind = np.repeat([0, 1, 2, 3], [lost, partly, never, n - lost - partly - never])
    known = (kind == 0) | (kind == 3)
    return KnownAndSaid(
        known=known,
        specific=known,
        never=kind == 2,
        right=kind == 3,
        tied=kind == 3,
        compared=np.ones(n, bool),
        stated_share=np.zeros(n),
    )


@given(st.integers(0, 50), st.integers(1, 6), st.integers(1, 40))
def test_matched_are_the_nearest_left_taken_in_turns(seed: int, lost: int, pool: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 5, (lost + pool, 2)).astype(float)
    is_lost = np.arange(lost + pool) < lost
    left, expected = list(range(lost, lost + pool)), []
    for _ in range(ENOUGH_CONTROLS // lost):
        for i in range(lost):
            if left:
                best = min(left, key=lambda j: (sum((features[j] - features[i]) ** 2), j))
                expected.append(best)
                left.remove(best)
    assert sorted(expected) == np.flatnonzero(match(is_lost, ~is_lost, features)).tolist()
    assert not match(np.zeros_like(is_lost), ~is_lost, features).any()


def test_matched_controls_are_as_popular_and_their_answers_as_frequent() -> None:
    some = facts(2000)
    rng = np.random.default_rng(1)
    features = likeness(some)
    lost = (features[:, 0] > 1) & (features[:, 1] > 2) & (rng.random(2000) < 0.2)
    pool = ~lost
    chosen = match(lost, pool, features)
    apart = [np.abs(features[each].mean(0) - features[lost].mean(0)) for each in (chosen, pool)]
    assert (apart[0] < 0.2 * apart[1]).all()
    assert likeness(facts(50, popularity=False)).shape == (50, 1)


def test_controls_are_wrong_in_every_form_and_the_matched_ones_are_among_them() -> None:
    n = 600
    said = told(n)
    some = facts(n)
    members = dict(zip(SETS, control_sets(said, some).T, strict=True))
    assert np.flatnonzero(members["never"]).tolist() == list(range(230, 430))
    assert np.flatnonzero(members["unknown"]).tolist() == list(range(30, 430))
    assert not (members["matched"] & ~members["never"]).any()
    assert members["matched"].sum() == 90, "three rounds of thirty, as a fourth would exceed what is enough"
    unasked = replace(said, stated_share=np.where(np.arange(n) < 330, np.nan, 0.0))
    assert np.flatnonzero(control_sets(unasked, some)[:, SETS.index("never")]).tolist() == list(
        range(330, 430)
    )


def test_lost_facts_without_evidence_are_matched_with_nobody() -> None:
    n = 600
    said = told(n)
    nothing = replace(said, stated_share=np.where(said.lost, np.nan, 0.0))
    assert not control_sets(nothing, facts(n))[:, SETS.index("matched")].any()


def test_rates_are_counted_on_never_stored_and_retained_facts() -> None:
    """One in ten never-stored facts is stated; of retained ones half in every form, a quarter in none."""
    n, place = 600, np.arange(600)
    said = told(n, lost=30, partly=170, never=200)
    share = np.where((place >= 200) & (place < 220), 0.5, 0.0)
    share[400:500], share[500:550] = 1.0, 0.5
    said = replace(said, stated_share=share)
    never = control_sets(said, facts(n))[:, SETS.index("never")]
    found = rates(said, never, np.array([f"s{i}" for i in range(n)]))
    assert {name: (rate[0], rate[3]) for name, rate in found.items()} == {
        "false_positives": (pytest.approx(0.1), 200),
        "missed": (pytest.approx(0.5), 200),
        "unseen": (pytest.approx(0.25), 200),
    }
    assert all(low < value < high for value, low, high, _ in found.values())
    nobody = rates(said, np.zeros(n, bool), np.array(["s"] * n))
    assert nobody["false_positives"] == (None, None, None, 0)


def test_a_model_against_itself_has_lost_nothing() -> None:
    said = told(600, lost=0, partly=0, never=300)
    verdicts = judge(said)
    assert (verdicts[said.known] == RETAINED).all()
    assert (verdicts[~said.known] == NEVER_STORED).all()


def test_more_lost_facts_than_enough_have_one_control_each() -> None:
    some = facts(1000)
    lost = np.arange(1000) < 2 * ENOUGH_CONTROLS
    assert match(lost, ~lost, likeness(some)).sum() == 2 * ENOUGH_CONTROLS
    few = np.arange(1000) < 60
    assert match(few, ~few, likeness(some)).sum() == 60, "a second round would exceed what is enough"


def test_what_a_table_cannot_carry_is_said_before_any_model_runs() -> None:
    def asked(n: int, answers: int) -> list[Prompt]:
        return [
            Prompt(
                text=f"s{i} is", subject=(0, 2), answers=(f"a{i % answers}",), fact_id=str(i), relation="r"
            )
            for i in range(n)
        ]

    require_comparable_facts(asked(FEWEST_FACTS, 10))
    with pytest.raises(InputError, match=r"only 0 of 60 facts are of relations.*r: 60 facts, 1 answers"):
        require_comparable_facts(asked(60, 1))
    with pytest.raises(InputError, match="only 39 of 39 facts"):
        require_comparable_facts(asked(39, 10))
    ids = [str(i) for i in range(60)]

    def known(n: int, unknown: int) -> KnownFacts:
        return KnownFacts(
            known={i: k < n for k, i in enumerate(ids)},
            never={i: k >= 60 - unknown for k, i in enumerate(ids)},
            specific=dict.fromkeys(ids, True),
        )

    require_comparable_facts(asked(60, 10), known(60, 0))
    require_comparable_facts(asked(60, 10), known(1, 40))
    with pytest.raises(InputError, match="knows none of the 60 facts"):
        require_comparable_facts(asked(60, 10), known(0, 60))
