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
from interp.verdicts.controls import (
    CONTROLS,
    FEWEST_CONTROLS,
    FEWEST_RETAINED,
    RETAINED_ARE,
    FittedControls,
    fit_controls,
)
from interp.verdicts.diagnosis import (
    ERASED,
    ERODED,
    NEVER_STORED,
    RETAINED,
    SUPPRESSED,
    UNDETERMINED,
    KnownAndSaid,
    judge,
)
from interp.verdicts.matching import ENOUGH_CONTROLS, likeness, match
from interp.verdicts.preconditions import require_comparable_facts, require_measurable_facts

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


def fitted(evidence: np.ndarray, decoys: np.ndarray, said: KnownAndSaid) -> FittedControls:
    n = len(evidence)
    return fit_controls(evidence, decoys, said, facts(n), half(n), alpha=0.05)


def half(n: int) -> np.ndarray:
    return np.arange(n) % 2 == 0


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


def test_facts_stated_in_some_form_are_no_controls_and_hide_storage_if_they_are() -> None:
    """Partly stored facts have evidence: as controls they raise the threshold above what lost facts show."""
    n, rng = 600, np.random.default_rng(0)
    said = told(n)
    evidence = rng.normal(size=n)
    evidence[said.known] += 4
    evidence[30:230] += 4  # stated in some form
    found = fitted(evidence, evidence - 9, said)
    assert found.relied == "never"
    assert found.retained == RETAINED_ARE["specific"]
    members = dict(zip(SETS, found.members.T, strict=True))
    assert np.flatnonzero(members["never"]).tolist() == list(range(230, 430))
    assert not (members["matched"] & ~members["never"]).any()
    assert np.flatnonzero(members["unknown"]).tolist() == list(range(30, 430))
    assert not members["decoys"].any()
    shown = dict(zip(SETS, found.shown[:30].mean(0), strict=True))
    assert shown["never"] > 0.9
    assert shown["matched"] > 0.9
    assert shown["unknown"] < 0.3, "what contaminated controls made of facts that are all stored"
    assert (found.index > found.cut.threshold).tolist() == (found.shown[:, SETS.index("never")] > 0).tolist()
    assert np.median(found.index[said.never & ~half(n)]) == pytest.approx(0)
    assert np.median(found.index[said.retained & ~half(n)]) == pytest.approx(1)
    low, high = found.bounds
    assert (low <= found.index).all()
    assert (found.index <= high).all()


def test_synthetic_facts_of_known_state_are_called_what_they_are() -> None:
    """Lost facts that are stated in every form, or in some; told from never-stored ones, or not."""
    n, rng = 900, np.random.default_rng(0)
    place = np.arange(n)
    said = replace(
        told(n, lost=300, partly=0, never=300), stated_share=np.where(place < 50, 1, 0.5 * (place < 100))
    )
    level = np.repeat([0.0, 5, 0, 0, 10], [100, 100, 100, 300, 300])
    evidence = level + rng.normal(size=n)
    found = fitted(evidence, evidence - 20, said)
    verdicts = judge(said, found.index, found.cut)
    assert (verdicts[:50] == SUPPRESSED).all()
    assert (verdicts[50:100] == ERODED).all(), "whatever the index"
    assert (verdicts[100:200] == ERODED).mean() > 0.85
    assert (verdicts[200:300] == ERASED).mean() > 0.6, "the rest of them is in doubt"
    assert not np.isin(verdicts[100:], [SUPPRESSED]).any()
    assert (verdicts[300:600] == NEVER_STORED).mean() > 0.6
    assert (verdicts[600:] == RETAINED).all()
    assert found.cut.missed.value == 1, "no retained fact is stated here"
    assert found.cut.unseen.value == 0


def test_where_evidence_tells_nothing_there_is_no_index_and_stated_facts_are_stored_still() -> None:
    n, rng = 600, np.random.default_rng(0)
    place = np.arange(n)
    said = replace(told(n), stated_share=np.where(place < 10, 1, 0.5 * (place < 20)))
    evidence = rng.normal(size=n)
    found = fitted(evidence, evidence, said)
    assert not found.apart
    assert np.isnan(found.index).all()
    verdicts = judge(said, found.index, found.cut)
    assert verdicts[:30].tolist() == [SUPPRESSED] * 10 + [ERODED] * 10 + [UNDETERMINED] * 10


def test_a_model_against_itself_has_lost_nothing() -> None:
    n, rng = 600, np.random.default_rng(0)
    said = told(n, lost=0, partly=0, never=300)
    evidence = rng.normal(size=n) + 5 * said.known
    found = fitted(evidence, evidence - 9, said)
    verdicts = judge(said, found.index, found.cut)
    assert (verdicts[said.known] == RETAINED).all()
    assert set(verdicts[~said.known]) <= {NEVER_STORED, UNDETERMINED}


def test_the_upper_anchor_is_of_stated_or_right_facts_where_few_are_specific() -> None:
    n, rng = 600, np.random.default_rng(0)
    said = told(n)
    generic = replace(said, tied=said.tied & (np.arange(n) >= n - FEWEST_RETAINED + 1))
    evidence = rng.normal(size=n) + 5 * said.known
    assert fitted(evidence, evidence, generic).retained == RETAINED_ARE["right"]
    stated = replace(generic, stated_share=generic.known.astype(float))
    assert fitted(evidence, evidence, stated).retained == RETAINED_ARE["stated"]
    with pytest.raises(InputError, match="no fact that both models know"):
        fitted(evidence, evidence, replace(said, right=np.zeros(n, bool)))


def test_more_lost_facts_than_enough_have_one_control_each() -> None:
    some = facts(1000)
    lost = np.arange(1000) < 2 * ENOUGH_CONTROLS
    assert match(lost, ~lost, likeness(some)).sum() == 2 * ENOUGH_CONTROLS
    few = np.arange(1000) < 60
    assert match(few, ~few, likeness(some)).sum() == 60, "a second round would exceed what is enough"


def test_where_controls_are_few_decoys_decide_and_the_few_are_still_told() -> None:
    n, rng = 400, np.random.default_rng(0)
    said = told(n, never=FEWEST_CONTROLS - 1)
    evidence = rng.normal(size=n)
    found = fitted(evidence, evidence - 5, said)
    assert found.relied == "decoys"
    assert set(found.cuts) == {"unknown", "decoys"}
    assert np.isnan(found.shown[:, SETS.index("never")]).all()
    assert found.members[:, SETS.index("never")].sum() == FEWEST_CONTROLS - 1
    own = found.decoy_shown[half(n) & said.known]
    assert found.cut.false_positives.value == pytest.approx(own.mean())
    assert np.isnan(found.decoy_shown[~said.known]).all(), "of facts that the base did not know there is none"
    few = told(60, lost=10, partly=5, never=40)
    fewer = replace(few, never=few.never & few.known)
    found = fitted(evidence[:60], evidence[:60], fewer)
    assert found.relied == "unknown", "rather too strict than nothing"
    nothing = np.full(n, np.nan)
    with pytest.raises(InputError, match="controls: give at least"):
        fitted(nothing, nothing, said)


def test_what_a_table_cannot_carry_is_said_before_any_model_runs() -> None:
    def asked(n: int, answers: int) -> list[Prompt]:
        return [
            Prompt(
                text=f"s{i} is", subject=(0, 2), answers=(f"a{i % answers}",), fact_id=str(i), relation="r"
            )
            for i in range(n)
        ]

    require_comparable_facts(asked(FEWEST_CONTROLS, 10))
    with pytest.raises(InputError, match=r"only 0 of 60 facts are of relations.*r: 60 facts, 1 answers"):
        require_comparable_facts(asked(60, 1))
    with pytest.raises(InputError, match="only 39 of 39 facts"):
        require_comparable_facts(asked(39, 10))
    ids = [str(i) for i in range(60)]

    def known(n: int, unknown: int) -> KnownFacts:
        return KnownFacts(
            known={i: k < n for k, i in enumerate(ids)},
            unknown={i: k >= 60 - unknown for k, i in enumerate(ids)},
            specific=dict.fromkeys(ids, True),
        )

    require_comparable_facts(asked(60, 10), known(40, 0))
    require_comparable_facts(asked(60, 10), known(1, 40))
    with pytest.raises(InputError, match="knows none of the 60 facts"):
        require_comparable_facts(asked(60, 10), known(0, 60))
    with pytest.raises(InputError, match="knows 20 of 60 facts and 39 in no form"):
        require_comparable_facts(asked(60, 10), known(20, 39))


def checked(facts: int, *, known: int, never: int, right: int = 1) -> None:
    """Check facts of which the first are known, the last right in no form, and ``right`` right after all."""
    place = np.arange(facts)
    require_measurable_facts(place < known, place >= facts - never, place < right)


def test_what_facts_cannot_carry_is_said_with_numbers_before_evidence_is_measured() -> None:
    checked(100, known=FEWEST_CONTROLS, never=0)
    checked(100, known=1, never=FEWEST_CONTROLS)
    checked(FEWEST_CONTROLS + 1, known=1, never=0)
    with pytest.raises(InputError, match="knows none of the 90 facts"):
        checked(90, known=0, never=90)
    nobody = np.zeros(90, bool)
    with pytest.raises(InputError, match="facts that the base states, or ask the base in forms that suit it"):
        require_measurable_facts(nobody, ~nobody, nobody, elicited=False)
    with pytest.raises(InputError, match="no fact that both models know"):
        checked(90, known=50, never=40, right=0)
    with pytest.raises(InputError, match=r"only 30 of 50 facts are right in no form.*, and 12 are"):
        checked(50, known=12, never=30)
