"""The table of the paper: numbers recomputed by hand, seeds pooled, runs told apart, bad runs named."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit

from analyses import paper_table
from analyses.experiments.paper_table.load_runs import load_runs
from analyses.experiments.paper_table.table import accuracy, differences, markdown, numbers
from finetune.common.errors import InputError
from finetune.common.files import write_json

ARMS = {"base": 0.1, "top": 0.8, "bottom": 0.5, "random": 0.7, "whole": 0.75}


def rows_of(seed: int, *, facts: int = 60, arms: dict[str, float] | None = None, **columns) -> pd.DataFrame:
    """One seed's rows: two facts a subject, half of them known, right as often as the arm's share says."""
    rng = np.random.default_rng(seed)
    made = []
    for arm, share in (ARMS if arms is None else arms).items():
        right = rng.random(facts) < share
        made.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "arm": arm,
                    "fact_id": [f"f{i}" for i in range(facts)],
                    "subject": [f"s{i // 2}" for i in range(facts)],
                    "relation": ["born", "job"] * (facts // 2),
                    "popularity": np.arange(facts, 0, -1.0),
                    "quartile": 1 + np.arange(facts) * 4 // facts,
                    "known": np.arange(facts) % 4 < 2,
                    "prediction": np.where(right, "yes", "no"),
                    "correct": right,
                }
            ).assign(**columns)
        )
    return pd.concat(made, ignore_index=True)


def save(home: Path, frame: pd.DataFrame, *, finished: bool = True, **config) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(home / "facts.parquet")
    manifest = {"finished": finished, "config": config, "seeds": sorted({*map(int, frame.get("seed", [0]))})}
    write_json(home / "manifest.json", manifest)
    return home


def number(table: pd.DataFrame, quantity: str, measure: str = "correct", facts: str = "all", **where):
    for name, value in where.items():
        table = table[table[name] == value]
    found = table[(table["quantity"] == quantity) & (table["measure"] == measure) & (table["facts"] == facts)]
    assert len(found) == 1
    return found.iloc[0]


def test_runs_of_the_base_alone_have_no_table(tmp_path):
    run = save(tmp_path / "one", rows_of(0, arms={"base": 0.1}), world="tiny", method="full")
    with pytest.raises(InputError, match=r"no fine-tuned arm was asked \(there is: base\)"):
        numbers(load_runs([run]).rows)


def test_one_seed_is_averaged_over_facts_with_an_interval_over_subjects(tmp_path):
    frame = rows_of(0)
    run = save(tmp_path / "one", frame, world="tiny", method="full")
    table = numbers(load_runs([run]).rows)
    for arm in ARMS:
        own = frame[frame["arm"] == arm]
        got = number(table, arm)
        assert (got["value"], got["n"], got["seeds"]) == (pytest.approx(own["correct"].mean()), 60, 1)
        assert got["low"] < got["value"] < got["high"]
        known = number(table, arm, facts="known")
        assert (known["value"], known["n"]) == (pytest.approx(own[own["known"]]["correct"].mean()), 30)
    assert number(table, "base")["method"] == "none"
    assert number(table, "top")[["dataset", "model", "method", "fraction"]].tolist() == [
        "world tiny",
        "small",
        "full",
        0.5,
    ]


def test_differences_are_paired_by_fact(tmp_path):
    """Two arms that agree on all facts but two: no interval of unpaired shares would be so narrow."""
    frame = rows_of(0, arms={"top": 0.5})
    other = frame.assign(arm="bottom")
    flipped = np.flatnonzero(frame["correct"])[:2]
    other.loc[flipped, "correct"] = False
    shuffled = other.sample(frac=1, random_state=0)
    run = save(tmp_path / "pair", pd.concat([frame, shuffled], ignore_index=True), world="tiny")
    got = number(numbers(load_runs([run]).rows), "top − bottom")
    assert got["value"] == pytest.approx(2 / 60)
    assert got["low"] >= 0
    assert got["high"] < 0.12
    assert got["n"] == 60


def test_several_seeds_give_a_t_interval_over_them_from_one_run_or_three(tmp_path):
    seeds = [rows_of(seed) for seed in range(3)]
    together = save(tmp_path / "all", pd.concat(seeds, ignore_index=True), world="tiny", method="full")
    each = [
        save(tmp_path / f"s{i}", rows, world="tiny", method="full", seeds=[i]) for i, rows in enumerate(seeds)
    ]
    table = numbers(load_runs([together]).rows)
    values = [rows[rows["arm"] == "top"]["correct"].mean() for rows in seeds]
    mean = np.mean(values)
    # A share: Student's t in log-odds.
    low, high = expit(stats.t.interval(0.95, 2, logit(mean), stats.sem(values) / (mean * (1 - mean))))
    got = number(table, "top")
    assert got[["value", "low", "high"]].tolist() == pytest.approx([mean, low, high])
    assert (got["n"], got["seeds"], got["asked"]) == (3, 3, 180)
    pd.testing.assert_frame_equal(numbers(load_runs(each).rows), table)


def cell(home: Path, frame: pd.DataFrame, arm: str, rate: float, *, method: str = "lora", share=0.5, **more):
    name = f"dataset=d,model=m,method={method},arm={arm},fraction={share},learning_rate={rate},seed=0"
    columns = {
        "dataset": "d", "model": "m", "method": method, "arm": arm, "fraction": share, "learning_rate": rate,
    }  # fmt: skip
    return save(home / "cells" / name, frame.assign(**columns, **more), facts=["d"], method=method)


def test_cells_of_a_grid_make_one_table_and_validation_chooses_the_rate(tmp_path):
    frame = rows_of(0, arms={"x": 0.6})
    cell(tmp_path, frame.assign(correct=False), "base", 0.0, method="base", share=1.0)
    for method in ("lora", "full"):
        cell(tmp_path, frame, "top", 1e-3, method=method, validation=0.4)
        cell(tmp_path, frame.assign(correct=True), "top", 3e-3, method=method, validation=0.6)
        cell(tmp_path, frame.assign(correct=False), "bottom", 1e-3, method=method, validation=0.5)
        cell(tmp_path, frame, "whole", 1e-3, method=method, share=1.0, validation=0.5)
    unfinished = cell(tmp_path, frame, "random", 1e-3, validation=0.5)
    write_json(unfinished / "manifest.json", {"finished": False, "config": {}, "seeds": [0]})
    found = load_runs([tmp_path])
    assert [item.where for item in found.left_out] == [str(unfinished)]
    table = numbers(found.rows)
    for method in ("lora", "full"):
        assert number(table, "top", method=method)["value"] == 1
        assert number(table, "top − bottom", method=method)["value"] == 1
        assert number(table, "top − whole", method=method)["value"] == pytest.approx(
            1 - frame["correct"].mean()
        )
    assert number(table, "base")["value"] == 0
    made = accuracy(table)
    assert [row[:5] for row in made.rows].count(("d", "m", "none", "", "base")) == 1
    assert [row[3:5] for row in made.rows if row[2] == "full"] == [
        ("50%", "top"),
        ("50%", "bottom"),
        ("100%", "whole"),
    ]


def test_other_ways_of_being_right_have_their_columns_where_they_were_measured(tmp_path):
    frame = rows_of(0, contains=True)
    choice = pd.array([True, False] * (len(frame) // 2), dtype="boolean")
    one = save(tmp_path / "one", frame.assign(choice_correct=choice), facts="mmlu.csv", base="x/llama")
    two = save(tmp_path / "two", rows_of(0), facts="popqa.tsv", base="x/llama")
    made = accuracy(numbers(load_runs([one, two]).rows))
    assert made.columns[7:] == (
        "Right",
        "Right, known",
        "Contains",
        "Contains, known",
        "Choice",
        "Choice, known",
    )
    by_data = {row[0]: row for row in made.rows if row[4] == "top"}
    assert by_data["mmlu"][1] == "llama"
    assert str(by_data["mmlu"][9]).startswith("100.0 (")
    assert str(by_data["mmlu"][11]).startswith(
        "50.0, n"
    )  # each subject has one right and one wrong, which tells of no interval
    assert by_data["popqa"][9:] == (None,) * 4


def test_groups_are_parts_of_the_whole(tmp_path):
    frame = rows_of(0)
    rows = load_runs([save(tmp_path / "one", frame, world="tiny")]).rows
    for by, names in {
        "quartile": ["q1", "q2", "q3", "q4"],
        "relation": ["born", "job"],
        "known": ["known", "unknown"],
    }.items():
        table = numbers(rows, by=by)
        parts = [number(table, "top", facts=name) for name in names]
        assert sum(part["n"] for part in parts) == 60
        total = sum(part["value"] * part["n"] for part in parts) / 60
        assert total == pytest.approx(number(numbers(rows), "top")["value"])
    known = number(numbers(rows, by="known"), "top − bottom", facts="known")
    assert known["value"] == pytest.approx(number(numbers(rows), "top − bottom", facts="known")["value"])


def test_the_same_run_twice_is_one_and_another_answer_to_the_same_seed_is_named(tmp_path):
    one = save(tmp_path / "one", rows_of(0), world="tiny")
    copy = save(tmp_path / "copy", rows_of(0), world="tiny")
    table = numbers(load_runs([one]).rows)
    pd.testing.assert_frame_equal(numbers(load_runs([one, one, copy]).rows), table)
    other = save(tmp_path / "other", rows_of(0).assign(correct=True), world="tiny")
    both = numbers(load_runs([one, other]).rows)
    assert set(both["model"]) == {"small (one)", "small (other)"}
    assert number(both, "top", model="small (one)")["value"] == number(table, "top")["value"]
    assert number(both, "top", model="small (other)")["value"] == 1


def test_seeds_of_other_settings_are_not_pooled(tmp_path):
    one = save(tmp_path / "one", rows_of(0), world="tiny", pretrain_steps=300)
    two = save(tmp_path / "two", rows_of(1), world="tiny", pretrain_steps=3000)
    table = numbers(load_runs([one, two]).rows)
    assert set(table["model"]) == {"small (one)", "small (two)"}
    assert set(table["seeds"]) == {1}


def test_arms_of_one_s_own_are_compared_with_the_base(tmp_path):
    run = save(tmp_path / "own", rows_of(0, arms={"base": 0.2, "mine": 0.9}), finetuned=["mine=x"], base="b")
    table = numbers(load_runs([run]).rows)
    assert set(table["quantity"]) == {"base", "mine", "mine − base"}
    assert number(table, "mine")["method"] == "given"


def test_few_facts_are_told_and_none_known_is_not_measured(tmp_path):
    run = save(tmp_path / "few", rows_of(0, facts=4).assign(known=False), world="tiny")
    made = accuracy(numbers(load_runs([run]).rows))
    assert "Fewer than 20 facts a seed: world tiny, base (all)" in made.note
    assert made.columns[7:] == ("Right",)
    assert "known" not in markdown([made, differences(numbers(load_runs([run]).rows))]).split("Fewer")[0]


def test_names_from_data_stay_inside_their_cells(tmp_path):
    run = save(tmp_path / "odd", rows_of(0).assign(dataset="a|b\n<img>"), world="tiny")
    text = markdown([accuracy(numbers(load_runs([run]).rows))])
    lines = [line for line in text.splitlines() if "img" in line]
    assert all("a\\|b &lt;img>" in line for line in lines)
    assert len({line.count("|") for line in lines}) == 1


def _broken(home: Path) -> Path:
    (home / "facts.parquet").write_bytes(b"no parquet")
    return home


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p / "absent", "no such run directory"),
        (lambda p: (p / "empty").mkdir() or p / "empty", "holds no run"),
        (lambda p: save(p / "open", rows_of(0), finished=False), "is not finished"),
        (lambda p: save(p / "thin", rows_of(0).drop(columns="correct")), "no column correct"),
        (lambda p: save(p / "twice", pd.concat([rows_of(0)] * 2)), "holds a fact several times"),
        (lambda p: _broken(save(p / "broken", rows_of(0))), "not a readable parquet file"),
    ],
)
def test_what_cannot_be_in_the_table_is_named_and_nothing_written(tmp_path, monkeypatch, capsys, make, says):
    bad = make(tmp_path)
    out = tmp_path / "made" / "table"
    monkeypatch.setattr(sys, "argv", ["paper_table.py", str(bad), "--out", str(out)])
    assert paper_table.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert error.count("\n") == 1
    assert not out.parent.exists()


def test_several_rates_without_validation_are_not_chosen_among(tmp_path):
    for rate in (1e-3, 3e-3):
        cell(tmp_path, rows_of(0, arms={"x": 0.6}), "top", rate)
    with pytest.raises(InputError, match=r"d, m, lora, top: 2 learning rates and no validation"):
        numbers(load_runs([tmp_path]).rows)


def test_groups_that_the_runs_do_not_hold_are_refused(tmp_path):
    rows = load_runs([save(tmp_path / "one", rows_of(0).drop(columns="quartile"), world="tiny")]).rows
    with pytest.raises(InputError, match="by = 'quartile'"):
        numbers(rows, by="quartile")


def test_the_script_prints_the_table_and_writes_both_files(tmp_path, monkeypatch, capsys):
    run = save(tmp_path / "one", rows_of(0), world="tiny")
    out = tmp_path / "made" / "table.md"
    monkeypatch.setattr(sys, "argv", ["paper_table.py", str(run), "--out", str(out), "--by", "known"])
    assert paper_table.main() == 0
    printed = capsys.readouterr().out
    assert "top − bottom" in printed
    assert "Accuracy of held-out facts, by known, %" in printed
    text = out.read_text(encoding="utf-8")
    table = numbers(load_runs([run]).rows)
    assert f"{100 * number(table, 'top')['value']:.1f} (" in text
    with out.with_suffix(".csv").open(encoding="utf-8") as stream:
        held = list(csv.DictReader(stream))
    assert len(held) == len(table) + len(numbers(load_runs([run]).rows, by="known"))
    assert float(held[0]["value"]) == pytest.approx(table.iloc[0]["value"])
