"""Endpoints on lost facts: counted by hand, archived, and pooled over seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from analyses.experiments.findings.study_numbers import (
    QK_ABOVE_PLACEBO,
    STORED_ABOVE_CONTROLS,
    StudyNumbers,
    lost_fact_endpoints,
    seed_agreement,
)
from analyses.experiments.findings.study_tables import primary_table
from analyses.experiments.popularity_splits.archive import export_verdicts, read_verdicts
from finetune.common.errors import InputError
from interp.reports.read.results import Results


def verdicts(stored: int) -> pd.DataFrame:
    """Ten lost facts, ten controls of held-out subjects of which one is called stored, and ten retained."""
    kind = np.repeat(["lost", "control", "retained"], 10)
    place = np.tile(np.arange(10), 3)
    called = (kind == "control") & (place == 0)
    return pd.DataFrame(
        {
            "fact_id": [str(i) for i in range(30)],
            "subject": [f"s{i}" for i in range(30)],
            "arm": "bottom",
            "base_knew": np.where(kind == "control", 0.0, 1.0),
            "right": kind == "retained",
            "verdict": np.where((kind == "lost") & (place < stored), "eroded", "erased"),
            "stated_share": np.where((kind == "lost") & (place < stored) | called, 0.5, 0.0),
            "control_never": kind == "control",
            "pathway_base_qk": np.where(kind == "lost", 0.5, np.nan),
            "pathway_base_placebo_qk": np.where(kind == "lost", 0.1 * (place % 2), np.nan),
        }
    )


def test_endpoints_are_counted_on_lost_facts_and_controls(tmp_path: Path) -> None:
    other = verdicts(0).assign(arm="top")
    setting = {"dataset": "made", "model": "small", "method": "lora", "fraction": "0.5", "seed": 3}
    export_verdicts(tmp_path, setting, pd.concat([verdicts(6), other]))
    ((seed, rows),) = read_verdicts(tmp_path).items()
    assert (seed, len(rows)) == (3, 30)
    found = lost_fact_endpoints(rows)
    assert found[STORED_ABOVE_CONTROLS].value == pytest.approx(0.6 - 0.1)
    assert found[STORED_ABOVE_CONTROLS].n == 10
    assert found[QK_ABOVE_PLACEBO].value == pytest.approx(0.45)
    export_verdicts(tmp_path, {**setting, "method": "full"}, other)
    with pytest.raises(InputError, match="of several settings"):
        read_verdicts(tmp_path)


def test_a_former_rules_eroded_facts_count_only_where_they_are_stated() -> None:
    rows = verdicts(6)
    former = rows.assign(stated_share=np.where(rows["fact_id"].astype(int) < 2, 0.0, rows["stated_share"]))
    assert lost_fact_endpoints(former)[STORED_ABOVE_CONTROLS].value == pytest.approx(0.4 - 0.1)


def test_three_seeds_are_pooled_and_fewer_shown_apart() -> None:
    each = {seed: lost_fact_endpoints(verdicts(4 + seed)) for seed in range(3)}
    nothing = Results.of({})
    empty = {
        "pooled": nothing,
        "seeds": {},
        "records": [],
        "rows": pd.DataFrame(),
        "agreement": {},
        "cpu_seconds": 0.0,
    }
    numbers = StudyNumbers(overlap=0.0, lost=each, **empty)
    pooled, p = numbers.of_lost(STORED_ABOVE_CONTROLS)
    assert pooled["3 seeds"].value == pytest.approx(0.4)
    assert p < 0.05
    rows = [row for row in primary_table(numbers) if row.startswith("| 4.")]
    assert len(rows) == 1
    assert "| 3 seeds | +40.0 (" in rows[0]
    fewer = replace(numbers, lost={0: each[0], 1: each[1]})
    rows = [row for row in primary_table(fewer) if row.startswith("| 4.")]
    assert [row.split(" | ")[1] for row in rows] == ["seed 0", "seed 1"]
    assert all("one training" in row for row in rows)
    none = replace(numbers, lost={})
    assert sum("not measured yet" in row for row in primary_table(none) if row[2] in "45") == 2


def test_seeds_agree_where_they_say_the_same_of_facts_that_both_held_out() -> None:
    rows = verdicts(6).assign(stated_share=np.linspace(0.1, 1, 30))
    same = seed_agreement({0: rows, 1: rows})
    assert [same[key].value for key in ("lost", "stored", "stated")] == [1.0, 1.0, pytest.approx(1.0)]
    assert (same["lost"].n, same["stored"].n) == (20, 10)  # controls were not known
    turned = rows.assign(
        stated_share=1.2 - rows["stated_share"],
        verdict=np.where(rows["verdict"] == "eroded", "erased", "eroded"),
    )
    other = seed_agreement({0: rows, 1: turned, 2: rows.assign(fact_id="elsewhere", subject="none")})
    assert other["stated"].value == pytest.approx(-1.0)
    a, b = (rows["verdict"][:10] == "eroded", turned["verdict"][:10] == "eroded")
    assert other["stored"].value == pytest.approx(cohen_kappa_score(a, b))
    assert seed_agreement({0: rows}) == {}
