"""Recognition: numbers of lost against never-stored facts, by counting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analyses.experiments.stored_or_suppressed.recognition import recognition_numbers

FEWEST = 19  # controls, of which 5% can be exceeded by none


def rows(lost: int = 60, never: int = 40, seed: int = 0) -> pd.DataFrame:
    """An arm's facts; lost ones are recognised better, by their own name alone."""
    rng, n = np.random.default_rng(seed), lost + never
    frame = pd.DataFrame(
        {
            "fact_id": [f"f{i}" for i in range(n)],
            "subject": [f"s{i}" for i in range(n)],
            "relation": "r",
            "answer": [f"a{i % 3}" for i in range(n)],
            "base_knew": np.where(np.arange(n) < lost, 1.0, 0.0),
            "right": False,
            "control_never": np.arange(n) >= lost,
            "stated_share": np.where(np.arange(n) % 4 == 0, 0.5, 0.0) * (np.arange(n) < lost),
            "recognition": rng.normal(size=n) + 2.0 * (np.arange(n) < lost),
            "recognition_swapped": rng.normal(size=n),
        }
    )
    return frame.assign(verdict=np.where(frame["stated_share"] > 0, "eroded", "erased"))


def test_recognised_are_facts_above_what_never_stored_ones_reach() -> None:
    frame = rows()
    numbers = recognition_numbers(frame)
    lost, never = frame[~frame["control_never"]], frame[frame["control_never"]]
    above = sorted(never["recognition"])[38]  # a further one lies above the 39th of 40 in 5% of the cases
    assert numbers["of_lost"].value == pytest.approx((lost["recognition"] > above).mean())
    erased = lost[lost["verdict"] == "erased"]
    assert numbers["of_erased"].value == pytest.approx((erased["recognition"] > above).mean())
    assert numbers["stated_of_lost"].value == pytest.approx(15 / 60)
    assert numbers["difference"].value == pytest.approx(numbers["of_lost"].value - 15 / 60)
    assert numbers["difference"].low > 0
    pairs = lost["recognition"].to_numpy()[:, None] > never["recognition"].to_numpy()
    assert numbers["above_never"].value == pytest.approx(pairs.mean())
    assert numbers["above_never_swapped"].low < 0.5 < numbers["above_never_swapped"].high
    for name, these in (("same_answer", lost), ("erased", erased)):
        areas = []
        for answer in ("a0", "a1", "a2"):
            own, others = (f.loc[f["answer"] == answer, "recognition"].to_numpy() for f in (these, never))
            areas.append((own[:, None] > others).mean())
        assert numbers[f"{name}_above_never"].value == pytest.approx(np.mean(areas))


def test_how_common_an_answer_is_says_nothing_among_facts_of_one_answer() -> None:
    """Where scores are the answer's alone, lost facts have the common ones and never-stored ones the rare."""
    frame = rows(lost=60, never=60)
    common = np.where(frame["control_never"], np.arange(120) % 10 == 0, np.arange(120) % 10 > 0)
    frame["answer"] = np.where(common, "common", "rare")
    frame["recognition"] = common * 5 + np.random.default_rng(1).normal(size=120)
    numbers = recognition_numbers(frame)
    assert numbers["above_never"].low > 0.8
    assert numbers["same_answer_above_never"].low < 0.5 < numbers["same_answer_above_never"].high


def test_too_few_never_stored_facts_make_no_cut_and_other_runs_have_no_numbers() -> None:
    few = recognition_numbers(rows(never=FEWEST - 1))
    assert few["above_never"].value is not None
    assert few["of_lost"].value is few["difference"].value is None
    assert recognition_numbers(rows().drop(columns="recognition")) == {}
    assert recognition_numbers(rows().assign(recognition=np.nan)) == {}
    right = rows()
    right["right"] = True  # nothing was lost: no share of lost facts, and no error
    assert recognition_numbers(right)["of_lost"].value is None
