"""The table of facts: every value against the rows it came from, and what is left out of it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from interp.reports.pages import fact_section as pictures
from interp.reports.pages.fact_table import MOST_FACTS, fact_table
from interp.reports.read.run import NotMeasured, Run

from .run_directory_fixture import TRAINED, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run.load(make_run(tmp_path_factory.mktemp("run"), seeds=(0, 1), n_facts=30))


def values(table, key: str, arm: str | None = None) -> list:
    """Read a column back as the page does."""
    column = next(column for column in table.data["columns"] if column["key"] == key)
    held = column["arms"][arm] if arm else column
    if "words" not in held:
        return held["values"]
    return [None if code < 0 else held["words"][code] for code in held["values"]]


def test_every_value_is_that_of_its_row(run):
    table = fact_table(run.facts)
    data = table.data
    assert (table.shown, table.total, table.arms) == (60, 60, tuple(a for a in TRAINED if a != "base"))
    rows = run.facts.set_index(["seed", "arm", "fact_id"])
    for arm in table.arms:
        for i, (seed, fact) in enumerate(zip(data["seeds"], data["ids"], strict=True)):
            row, base = (rows.loc[(int(seed), name, fact)] for name in (arm, "base"))
            assert values(table, "subject")[i] == row["subject"]
            assert values(table, "answer")[i] == row["answer"]
            assert values(table, "said", arm)[i] == row["prediction"]
            assert values(table, "base")[i] == base["prediction"]
            said = next(c for c in data["columns"] if c["key"] == "said")["arms"][arm]
            assert said["right"][i] == int(row["correct"])
            change = row["subject_attention"] - base["subject_attention"]
            assert values(table, "change", arm)[i] == pytest.approx(change, rel=1e-4)
    recovered = values(table, "recovered", "bottom")
    assert sum(v is not None for v in recovered) == run.facts["recovered"].notna().sum()


def test_the_draw_is_even_over_popularity(run):
    table = fact_table(run.facts, most=10)
    popularity = values(table, "popularity")
    assert (table.shown, table.total) == (10, 60)
    assert popularity == sorted(popularity, reverse=True)
    whole = run.facts["popularity"]
    assert (popularity[0], popularity[-1]) == (
        pytest.approx(whole.max(), rel=1e-4),
        pytest.approx(whole.min(), rel=1e-4),
    )


def test_names_of_verdicts_are_read_under_the_same_names(run):
    judged = run.facts[run.facts["arm"] != "base"].rename(
        columns={
            "prediction": "said",
            "correct": "right",
            "known": "base_knew",
            "subject_attention": "attention",
        }
    )
    judged = judged.assign(verdict="erased", attention_other=0.25, other="whole", base_said="x")
    in_part = judged.assign(base_knew=judged["base_knew"].astype(float).replace({0.0: 0.67}))
    assert values(fact_table(in_part), "known") == values(fact_table(judged), "known"), "in every form"
    table = fact_table(judged.drop(columns="quartile"))
    plain = fact_table(run.facts)
    assert values(table, "said", "top") == values(plain, "said", "top")
    assert values(table, "known") == values(plain, "known")
    assert values(table, "base") == ["x"] * 60
    change = np.array(values(table, "mass", "top")) - 0.25
    assert values(table, "change", "top") == pytest.approx(change.tolist(), abs=1e-4)
    assert table.data["reference"]["top"] == "whole"
    assert table.has_verdicts
    assert not plain.has_verdicts


def test_verdicts_are_added_where_there_are_some(run):
    some = run.facts[(run.facts["arm"] == "top") & (run.facts["seed"] == 0)]
    table = fact_table(run.facts, verdicts=some.assign(verdict="learned", index=0.0))
    seeds = table.data["seeds"]
    assert values(table, "verdict", "top") == ["learned" if seed == "0" else None for seed in seeds]
    assert values(table, "verdict", "bottom") == [None] * 60


def test_rows_that_are_not_one_a_fact_give_no_table(run):
    with pytest.raises(NotMeasured, match="several settings"):
        fact_table(pd.concat([run.facts, run.facts]))
    with pytest.raises(NotMeasured, match="'answer'"):
        fact_table(run.facts.drop(columns="answer"))


def test_ten_thousand_facts_take_little_more_than_a_megabyte():
    n = MOST_FACTS + 500
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "seed": 0,
                "arm": arm,
                "fact_id": [f"employer/{i:05}" for i in range(n)],
                "subject": [f"Person Number {i}" for i in range(n)],
                "relation": "employer",
                "answer": [f"answer {i % 400}" for i in range(n)],
                "prediction": [f"answer {i}" for i in rng.integers(0, 400, n)],
                "correct": rng.random(n) < 0.5,
                "subject_attention": rng.random(n),
            }
        )
        for arm in ("base", "top", "bottom")
    ]
    table = fact_table(pd.concat(frames))
    assert (table.shown, table.total) == (MOST_FACTS, n)
    assert len(json.dumps(table.data, separators=(",", ":"))) < 1_600_000


def test_twenty_facts_keep_their_attention_within_the_page(tmp_path):
    make_run(tmp_path, n_facts=24)
    one = json.loads((tmp_path / "example.json").read_text(encoding="utf-8"))
    several = [{**one, "fact_id": f"w{i}"} for i in range(20)]
    (tmp_path / "examples.json").write_text(json.dumps(several), encoding="utf-8")
    run = Run.load(tmp_path)
    held = pictures.example_pictures(run.examples)
    assert list(held) == [f"w{i}" for i in range(20)]
    assert len(json.dumps(held)) < 1_000_000
    assert held["w3"]["prompt"] == run.example.prompt


def test_last_rows_of_several_arms_are_gathered_by_fact(tmp_path):
    fact = {"fact_id": "a", "tokens": ["x", "y"], "subject": [True, False]}
    held = {
        "top": [{**fact, "rows": {"whole": [0.25, 0.75], "top": [0.5, 0.5]}}],
        "bottom": [{**fact, "rows": {"top": [0.5, 0.5], "bottom": [1, 0]}}],
    }
    path = tmp_path / "pictures.json"
    assert pictures.last_row_pictures(path) == {}
    path.write_text(json.dumps(held))
    (picture,) = pictures.last_row_pictures(path).values()
    assert picture["rows"] == {"whole": [0.25, 0.75], "top": [0.5, 0.5], "bottom": [1, 0]}
    held["top"][0]["rows"]["top"] = [1.0]
    path.write_text(json.dumps(held))
    with pytest.raises(ValueError, match=r"pictures\.json: is not laid out"):
        pictures.last_row_pictures(path)
