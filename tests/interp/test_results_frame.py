"""The results frame: a row a number, back again to the bit, looked up by its place, and written as told."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.reports.pages.results_tables import (
    curve,
    decide_each,
    decided_study,
    results_table,
    write_number,
)
from interp.reports.pages.study import format_entry
from interp.reports.read.results import COLUMNS, NONE, Results

FLOAT = st.floats(allow_nan=False, allow_infinity=False)
NUMBER = st.fixed_dictionaries(
    {
        "value": st.none() | FLOAT,
        "low": st.none() | FLOAT,
        "high": st.none() | FLOAT,
        "n": st.integers(0, 2**40),
    }
)
KEY = st.text("ab/~.1 ", min_size=1, max_size=4) | st.sampled_from(("arms", "cures", "seeds", "0"))
TREE = st.dictionaries(
    KEY,
    st.recursive(NUMBER, lambda inner: st.dictionaries(KEY, inner, min_size=1, max_size=3), max_leaves=8),
    min_size=1,
    max_size=3,
)


def number(value: float | None, n: int = 3) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"value": value, "low": low, "high": high, "n": n}


ARM = {"accuracy": number(0.5), "accuracy_by_quartile": {"q1": number(0.25)}}
RESULTS: dict[str, Any] = {
    "arms": {"top": ARM, "a/b": {"accuracy": number(None)}},
    "depths": {"4": {"recovery": {"placebo": number(0.125)}}},
    "seeds": {"7": {"arms": {"top": ARM}}},
}


@settings(deadline=None)
@given(TREE)
def test_a_tree_comes_back_to_the_bit(tree: dict[str, Any]) -> None:
    found = Results.of(tree)
    frame = found.to_frame()
    assert tuple(frame.columns) == COLUMNS
    values = [math.nan if number["value"] is None else number["value"] for number in found.numbers.values()]
    assert np.array_equal(frame["value"], values, equal_nan=True)
    assert json.dumps(found.tree(), sort_keys=True) == json.dumps(tree, sort_keys=True)


def test_a_number_is_told_by_its_arm_seed_setting_and_name() -> None:
    frame = Results.of(RESULTS).to_frame()
    rows = [tuple(row) for row in frame[["name", "arm", "seed", "setting"]].to_numpy()]
    assert rows == [
        ("accuracy", "top", "", "arms"),
        ("accuracy_by_quartile/q1", "top", "", "arms"),
        ("accuracy", "a/b", "", "arms"),
        ("placebo", "", "", "depths/4/recovery"),
        ("accuracy", "top", "7", "arms"),
        ("accuracy_by_quartile/q1", "top", "7", "arms"),
    ]
    assert frame["value"].isna().tolist() == [False, False, True, False, False, False]


def test_numbers_are_looked_up_by_their_places() -> None:
    results = Results.of(RESULTS)
    assert results.at("depths/4/recovery/placebo") == number(0.125)
    assert results.at(("arms", "a/b", "accuracy")) == results.at("arms/a~1b/accuracy") == number(None)
    assert results.at("depths/4") is results.at("no/where") is NONE
    assert list(results.below("arms")) == ["top", "a/b"]
    assert results.below("arms")["top"].tree() == results.part("arms/top").tree() == ARM
    assert results.below("winner") == {}
    assert "arms/top/accuracy" in results
    assert "arms/top" not in results


@pytest.mark.parametrize(
    ("how", "options", "bare"),
    [
        ("%", {"unit": "%"}, False),
        ("share", {"unit": "%"}, True),
        ("+%", {"unit": "%", "signed": True}, False),
        ("points", {"unit": "%", "signed": True}, True),
        ("0", {"digits": 0}, False),
        ("+3", {"digits": 3, "signed": True}, False),
    ],
)
def test_a_word_says_how_a_number_is_written(how: str, options: dict[str, Any], bare: bool) -> None:
    whole = format_entry(number(0.25), **options)
    assert write_number(number(0.25), how) == write_number(number(0.25), f"{how}?")
    assert write_number(number(0.25), how) == (whole.replace("%", "") if bare else whole)
    assert write_number(number(None), f"{how}?") == "not measured"
    assert (write_number(NONE, how), write_number(NONE, f"{how}?")) == ("not measured", "")


def test_tables_claims_and_curves_read_a_selection() -> None:
    arms = Results.of(RESULTS).below("arms")
    columns = (("Right", ("accuracy", "%")), ("Right", lambda part: part.at("accuracy")["n"]))
    table = results_table("T", ("Arm", "Of"), {(arm, 1): part for arm, part in arms.items()}, columns)
    assert table.columns == ("Arm", "Of", "Right", "Right")
    assert table.rows == (("top", 1, "50.0% (40.0 to 60.0)", 3), ("a/b", 1, "not measured", 3))
    line = curve("right", arms, "accuracy")
    assert (line.x, line.y) == (["top", "a/b"], [number(0.5), number(None)])
    wordings = (
        ("more than a third", "me", "arms/top/accuracy", "%", 0.3),
        ("above nothing", "me", "depths/4/recovery/placebo", "rank correlation 2"),
        ("never seen", "me", "no/where", "points"),
    )
    claims = decide_each(Results.of(RESULTS), wordings)
    assert [claim.outcome for claim in claims] == ["supported", "supported", "not measured"]
    assert claims[1].measured == "+0.12 (+0.02 to +0.23) rank correlation, n = 3"
    study = decided_study(title="", question="", claims=claims, tables=(table,))
    assert (study.outcome, study.finding[:10]) == ("supported", "Supported:")
    assert decided_study(title="", question="", claims=(), tables=(table,)).outcome == "not measured"
