"""Several runs on one page: differences against a slower way, and only where they mean something."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from finetune.common.errors import InputError
from interp.reports.pages.command import main
from interp.reports.pages.compare import claim_table, compare, read_compared_run, setting_differences
from interp.reports.pages.run_differences import run_difference, shared_facts
from interp.reports.pages.study import Study, StudyTable, decide_claim
from interp.reports.pages.study_page import write_study
from interp.reports.read.run import NotMeasured, Run

from .run_directory_fixture import HOSTILE, make_run


def altered(source: Path, path: Path, change) -> Path:
    """Copy a run directory with other rows of facts."""
    path.mkdir()
    for name in ("results.json", "manifest.json"):
        (path / name).write_bytes((source / name).read_bytes())
    change(pd.read_parquet(source / "facts.parquet")).to_parquet(path / "facts.parquet")
    return path


@pytest.fixture
def first(tmp_path) -> Path:
    return make_run(tmp_path / "first", n_facts=40)


def test_a_difference_is_paired_by_fact_whatever_the_order_of_rows(first, tmp_path):
    def shift(facts: pd.DataFrame) -> pd.DataFrame:
        facts = facts.sample(frac=1, random_state=0)
        return facts.assign(subject_attention=facts["subject_attention"] + 0.125 * (facts["arm"] == "top"))

    a, b = Run.load(first), Run.load(altered(first, tmp_path / "second", shift))
    assert shared_facts(a, b) == (40, 40, 40)
    top = run_difference(a, b, "top", "subject_attention")
    assert (top.value, top.low, top.n) == (pytest.approx(0.125), pytest.approx(0.125), 40)
    contrast = run_difference(a, b, "top_minus_bottom", "subject_attention")
    assert contrast.value == pytest.approx(0.125)
    assert run_difference(a, b, "bottom", "accuracy").value == 0


def test_an_accuracy_difference_is_that_of_the_means(first, tmp_path):
    wrong = altered(
        first, tmp_path / "second", lambda f: f.assign(correct=f["correct"] & (f["quartile"] > 1))
    )
    a, b = Run.load(first), Run.load(wrong)
    for kind in ("accuracy", "accuracy_known"):
        rows = [run.facts[run.facts["arm"] == "top"] for run in (a, b)]
        if kind == "accuracy_known":
            rows = [part[part["known"]] for part in rows]
        found = run_difference(a, b, "top", kind)
        assert found.value == pytest.approx(rows[1]["correct"].mean() - rows[0]["correct"].mean())
        assert found.low <= found.value <= found.high
        assert found.n == len(rows[0])


def test_seeds_are_pooled_as_in_the_runs(tmp_path):
    a = make_run(tmp_path / "a", seeds=(0, 1, 2), n_facts=20)

    def shift(facts: pd.DataFrame) -> pd.DataFrame:
        return facts.assign(subject_attention=facts["subject_attention"] + 0.1 * facts["seed"])

    found = run_difference(*map(Run.load, (a, altered(a, tmp_path / "b", shift))), "top", "subject_attention")
    assert (found.value, found.n) == (pytest.approx(0.1), 3)
    assert found.high - found.value == pytest.approx(0.1 / 3**0.5 * 4.302653, rel=1e-5)  # t of 2 degrees


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda f: f.assign(fact_id="x" + f["fact_id"]), "accuracy", "other facts"),
        (lambda f: f.assign(answer="other"), "accuracy", "other facts"),
        (lambda f: f[f["fact_id"] != "w0"], "subject_attention", "other facts"),
        (lambda f: f.assign(known=~f["known"]), "accuracy_known", "the bases know other facts"),
        (lambda f: f[f["arm"] != "top"], "accuracy", "not measured in both"),
    ],
)
def test_what_cannot_be_compared_says_so(first, tmp_path, change, kind, words):
    other = Run.load(altered(first, tmp_path / "second", change))
    with pytest.raises(NotMeasured, match=words):
        run_difference(Run.load(first), other, "top", kind)
    text = compare([first, other.path], tmp_path / "out.html").read_text(encoding="utf-8")
    assert words in text


def test_settings_that_differ_are_listed_and_the_others_counted(first, tmp_path):
    second = make_run(tmp_path / "second", n_facts=40)
    held = json.loads((second / "manifest.json").read_text())
    held["config"]["method"], held["versions"]["torch"] = HOSTILE, "2.0"
    (second / "manifest.json").write_text(json.dumps(held))
    found = setting_differences([read_compared_run(first, "first"), read_compared_run(second, "second")])
    assert found.rows == (("method", "full", HOSTILE), ("torch (version)", "2.13.0", "2.0"))
    assert found.note.startswith("5 other settings")
    text = compare([first, second], tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<img" not in text
    assert "differences are paired by fact" in text


def study_in(path: Path, *claims) -> Path:
    path.mkdir()
    (path / "manifest.json").write_text('{"config": {"a": 1}}')
    table = StudyTable(title="t", columns=("a",), rows=(("x",),))
    made = Study(
        title="t", question="q", finding="found", outcome="measured", tables=(table,), claims=tuple(claims)
    )
    write_study(path, made)
    return path


def test_studies_are_compared_by_their_claims(tmp_path):
    def claim(words: str, value: float):
        return decide_claim(words, "theory", {"value": value, "low": value - 1, "high": value + 1, "n": 3})

    a = study_in(tmp_path / "a", claim("x grows", 2), claim("y grows", 0))
    b = study_in(tmp_path / "b", claim("x grows", -2))
    table = claim_table([read_compared_run(a, "a"), read_compared_run(b, "b")])
    assert [(row[0], [cell.partition(":")[0] for cell in row[2:]]) for row in table.rows] == [
        ("x grows", ["supported", "not supported"]),
        ("y grows", ["inconclusive", "does not speak to it"]),
    ]
    assert main([str(a), str(b), "--compare", "--out", str(tmp_path / "c.html")]) == 0
    assert "does not speak to it" in (tmp_path / "c.html").read_text()


def test_one_run_or_none_or_the_same_one_twice_is_refused(first, tmp_path):
    for runs, words in (
        ([first], "two run directories"),
        ([first, first], "twice"),
        ([first, tmp_path], "missing"),
    ):
        with pytest.raises(InputError, match=words):
            compare(runs, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_figures_of_one_title_stand_together_and_none_of_them_leads(first, tmp_path):
    second = make_run(tmp_path / "second", n_facts=40)
    for path in (first, second):
        main([str(path)])
    page = compare([first, second], tmp_path / "page.html").read_text()
    for title in ("Accuracy by quartile",):
        part = page.partition(f"{title}</h3>")[2].partition("<h3")[0]
        assert part.count("<figcaption") == 2
    assert page.count("differences are in points") == 2, "of two accuracies, not of attention"
