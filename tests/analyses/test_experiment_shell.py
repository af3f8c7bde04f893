"""The shell with an experiment's own steps: what is written and when, resuming, refusing, running again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analyses.common.experiment import Experiment, Loaded, Measured
from analyses.common.options import RunOptions
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions
from analyses.experiments.long_tail_domain.options import LongTailDomainOptions
from analyses.experiments.mitigations.options import MitigationsOptions
from analyses.experiments.popularity_proxies.options import PopularityProxiesOptions
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.salience_vs_frequency.options import SalienceVsFrequencyOptions
from analyses.experiments.selection_contest.options import SelectionContestOptions
from analyses.experiments.which_data.options import WhichDataOptions
from finetune.common.errors import InputError, LeftOut
from finetune.common.files import read_json
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.results_tables import results_table
from interp.reports.pages.study import Study
from interp.reports.pages.study_files import load_study
from interp.reports.read.results import Results


@dataclass(frozen=True, kw_only=True)
class Steps(RunOptions):
    """A trial of three rows."""

    fail: str = ""


def measure(options: Steps, given: int, run: RunDirectory) -> Measured:
    if options.fail == "steps":
        raise InputError("--fail steps: give another")
    (run.path / "tried").open("a").write("x")
    rows = pd.DataFrame({"y": [given, given + 1, given + 2]})
    aside = LeftOut(where="row 4", reason="odd")
    details = {"setting": "a trial"}
    return Measured(rows=rows, files={"more.json": [1]}, details=details, left_out=(aside, aside))


def accept(options: Steps, given: int, run: RunDirectory) -> int:
    if options.fail == "accept":
        raise InputError("--fail accept: give another")
    return given


def summarise(rows: pd.DataFrame) -> dict[str, Any]:
    value = float(rows["y"].mean())
    return {"y": {"value": value, "low": value - 1, "high": value + 1, "n": len(rows)}}


def study(rows: pd.DataFrame, results: Results) -> Study:
    table = results_table("T", "Row", {"y": results}, {"Mean": ("y", "1")})
    return Study(title="T", question="?", finding="found", outcome="measured", tables=(table,))


EXPERIMENT = Experiment(
    name="trial",
    load=lambda options: Loaded(inputs=7, config={"facts_digest": "d"}),
    accept=accept,
    steps=measure,
    summarise=summarise,
    study=study,
    finish=lambda options, rows, run: {"handed": len(rows)},
)


def test_steps_leave_rows_numbers_a_page_and_what_is_told_of_them(tmp_path: Path) -> None:
    options = Steps(out=tmp_path / "run", seeds=(0,))
    out = EXPERIMENT.run(options)
    manifest = read_json(out / "manifest.json")
    assert pd.read_parquet(out / "facts.parquet")["y"].tolist() == [7, 8, 9]
    assert read_json(out / "results.json") == {"y": {"value": 8.0, "low": 7.0, "high": 9.0, "n": 3}}
    assert (read_json(out / "more.json"), load_study(out).tables[0].rows) == (
        [1],
        (("y", "8.0 (7.0 to 9.0)"),),
    )
    assert (manifest["finished"], manifest["handed"], manifest["setting"]) == (True, 3, "a trial")
    assert manifest["config"]["facts_digest"] == "d"
    assert manifest["left_out"] == [{"where": "row 4", "reason": "odd"}]
    EXPERIMENT.run(options)
    assert (out / "tried").read_text() == "x", "a finished run is not run again"
    replace(EXPERIMENT, repeats=True).run(options)
    assert (out / "tried").read_text() == "xx"


@pytest.mark.parametrize("fail", ["accept", "steps"])
def test_what_is_refused_leaves_nothing(tmp_path: Path, fail: str) -> None:
    with pytest.raises(InputError, match=f"--fail {fail}"):
        EXPERIMENT.run(Steps(out=tmp_path / "run", fail=fail))
    assert not (tmp_path / "run").exists()


def test_options_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    def load(options: Steps) -> Loaded:
        raise AssertionError("was loaded")

    with pytest.raises(InputError, match="--seeds"):
        replace(EXPERIMENT, load=load).run(Steps(out=tmp_path / "run", seeds=()))
    assert not (tmp_path / "run").exists()


REAL = {
    "attention_imbalance": AttentionImbalanceOptions,
    "long_tail_domain": LongTailDomainOptions,
    "mitigations": MitigationsOptions,
    "popularity_proxies": PopularityProxiesOptions,
    "popularity_splits": lambda facts: PopularitySplitsOptions(facts=(facts,)),
    "salience_vs_frequency": SalienceVsFrequencyOptions,
    "selection_contest": SelectionContestOptions,
}


def loaded(name: str, options: Any) -> dict[str, Any]:
    """What a run's configuration tells of what the options name."""
    return dict(import_module(f"analyses.experiments.{name}.experiment").EXPERIMENT.load(options).config)


def table(path: Path, answer: str) -> Path:
    rows = [f"{i},Ann{i},job,{answer if i else 'judge'},{i}" for i in range(60)]
    path.write_text("\n".join(["id,subject,relation,answer,popularity", *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(REAL))
def test_every_experiment_on_real_facts_notices_that_they_have_changed(name: str, tmp_path: Path) -> None:
    make: Any = REAL[name]
    facts = table(tmp_path / "facts.csv", "poet")
    before = loaded(name, make(facts=str(facts)))
    assert loaded(name, make(facts=str(facts))) == before
    assert loaded(name, make(facts=str(table(facts, "nurse")))) != before


def test_a_changed_corpus_and_changed_splits_are_noticed(tmp_path: Path) -> None:
    facts, corpus = table(tmp_path / "facts.csv", "poet"), tmp_path / "corpus.txt"
    parts = tmp_path / "other" / "data" / "facts,small,0" / "partition.json"
    parts.parent.mkdir(parents=True)
    splits: dict[str, Any] = {"facts": (str(facts),), "corpus": corpus, "splits": tmp_path / "other"}
    cases: list[tuple[str, Any, Path]] = [
        ("popularity_splits", PopularitySplitsOptions(**splits, popularity="corpus"), corpus),
        ("popularity_splits", PopularitySplitsOptions(**splits, popularity="corpus"), parts),
        ("popularity_proxies", PopularityProxiesOptions(facts=str(facts), corpus=corpus), corpus),
    ]
    for name, options, file in cases:
        corpus.write_text("Ann1 is a poet.", encoding="utf-8")
        parts.write_text("{}", encoding="utf-8")
        before = loaded(name, options)
        file.write_text("{ }", encoding="utf-8")
        assert loaded(name, options) != before


def test_a_changed_reference_is_noticed(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    facts, other = table(tmp_path / "facts.csv", "poet"), table(tmp_path / "other.csv", "poet")
    base = str(tiny_model("llama"))
    options = WhichDataOptions(
        base=base, facts=str(facts), reference=str(other), dtype="float32", out=tmp_path / "chosen.csv"
    )
    before = loaded("which_data", options)
    table(other, "nurse")
    assert loaded("which_data", options) != before
