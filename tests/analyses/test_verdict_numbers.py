"""How often facts are stated apart from what said that they are known: against counting by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analyses.common.verdict_numbers import stated_apart


def table(rng: np.random.Generator, facts: int = 60, forms: int = 3) -> pd.DataFrame:
    kind = rng.integers(0, 3, (facts, forms))
    states = np.where(rng.random((facts, forms)) < 0.1, np.nan, rng.integers(0, 2, (facts, forms)))
    numbered = range(1, forms + 1)
    return pd.DataFrame(
        {
            "subject": [f"s{i // 2}" for i in range(facts)],
            "right": rng.random(facts) < 0.3,
            **{f"states_form_{k}": states[:, k - 1] for k in numbered},
            **{f"known_apart_{k}": kind[:, k - 1] == 1 for k in numbered},
            **{f"never_apart_{k}": kind[:, k - 1] == 2 for k in numbered},
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_of_wrong_facts_and_of_the_forms_beside_which_they_are_known(seed: int) -> None:
    rows = table(np.random.default_rng(seed))
    found = stated_apart(rows)
    for name, kind in (("lost", "known"), ("never", "never")):
        cells = [
            row[f"states_form_{k}"]
            for _, row in rows[~rows["right"]].iterrows()
            for k in (1, 2, 3)
            if row[f"{kind}_apart_{k}"] and not np.isnan(row[f"states_form_{k}"])
        ]
        assert found[name].value == pytest.approx(np.mean(cells))
        assert found[name].n == len(cells)
    lost, never = found["lost"].value, found["never"].value
    assert lost is not None
    assert never is not None
    assert found["difference"].value == pytest.approx(lost - never)


def test_tables_without_what_it_takes_have_no_value() -> None:
    rows = table(np.random.default_rng(0))
    bare = rows[[name for name in rows if "apart" not in name]]
    assert {name: number.value for name, number in stated_apart(bare).items()} == dict.fromkeys(
        ("lost", "never", "difference")
    )
    assert stated_apart(rows.assign(right=True))["lost"].n == 0
