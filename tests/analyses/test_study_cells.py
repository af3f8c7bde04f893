"""Cells of a study on a given base: checkpoints, prompts, attention, and an archive to go on from."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import findings, popularity_splits
from analyses.common.checkpoints import import_checkpoints
from analyses.experiments.findings.page import BEGIN, END
from analyses.experiments.findings.study_numbers import StudyNumbers
from analyses.experiments.popularity_splits import cells as cells_module
from analyses.experiments.popularity_splits import downstream
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.survival_predictors import invented_names
from finetune.common.errors import InputError
from finetune.common.files import content_hash, read_json, write_json
from finetune.common.progress import Notice
from finetune.data.facts import FactSet
from finetune.data.records.fact import Fact
from interp.measures.attention import AttentionMass
from interp.reports.pages.results_tables import write_number
from interp.reports.pages.study_files import load_study
from interp.reports.read.results import Results

ARMS = ("top", "bottom", "whole", "random", "shuffled_top")
COUNTRIES = ("France", "Kenya", "Japan")


@pytest.fixture(scope="module")
def options(tiny_llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> PopularitySplitsOptions:
    home = tmp_path_factory.mktemp("study")
    rows = [f"{i},City{i},country,{COUNTRIES[i % 3]},{i + 1}" for i in range(90)]
    table = home / "cities.csv"
    table.write_text("\n".join(["id,subject,relation,answer,popularity", *rows]), encoding="utf-8")
    return PopularitySplitsOptions(
        out=home / "run",
        archive=home / "archive",
        facts=(str(table),),
        base=(f"tiny={tiny_llama_dir}",),
        arms=ARMS,
        match="answer",
        seeds=(0,),
        learning_rates=(1e-2,),
        steps=6,
        batch=8,
        check_every=2,
        last=True,
        test_shots=(1,),
        measures=True,
        analyse=(),
        workers=1,
        quiet=True,
    )


@pytest.fixture(scope="module")
def run(options: PopularitySplitsOptions) -> Path:
    return popularity_splits.run(options)


@pytest.fixture(scope="module")
def rows(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "facts.parquet")


def test_both_checkpoints_are_asked_with_and_without_examples(run: Path, rows: pd.DataFrame) -> None:
    for (arm, _), some in rows.groupby(["arm", "seed"]):
        asked = {(c, s): len(part) for (c, s), part in some.groupby(["checkpoint", "shots"])}
        wanted = ["base"] if arm == "base" else ["best", "last"]
        assert asked == {(c, s): len(some) // len(asked) for c in wanted for s in (0, 1)}
        assert set(some.loc[~some["beside"], "checkpoint"]) == {wanted[0]}
    last = rows[(rows["checkpoint"] == "last")]
    assert set(last["step"]) == {6}
    for home in (run / "cells").glob("*arm=top*"):
        curve = read_json(home / "checkpoint" / "training.json")["curve"]
        own = last[(last["arm"] == "top") & (last["seed"] == int(home.name[-1]))]
        assert set(own["training_accuracy"]) == {curve[-1]["training_accuracy"]}


def test_primary_numbers_are_of_the_kept_checkpoint_asked_as_trained(run: Path, rows: pd.DataFrame) -> None:
    held = read_json(run / "results.json")["seeds"]["0"]["cities"]["tiny"]["lora"]["0.5"]["arms"]
    for arm in ARMS:
        some = rows[
            (rows["arm"] == arm) & (rows["seed"] == 0) & (rows["checkpoint"] == "best") & (rows["shots"] == 0)
        ]
        assert held[arm]["accuracy"]["value"] == pytest.approx(some["correct"].mean())


def test_attention_of_a_row_is_the_mean_of_the_facts_mass(run: Path, rows: pd.DataFrame) -> None:
    (home,) = (run / "cells").glob("*arm=bottom*seed=0")
    mass = AttentionMass.load(home / "measures" / "last" / "attention.safetensors")
    own = rows[(rows["arm"] == "bottom") & (rows["seed"] == 0) & (rows["checkpoint"] == "last")]
    own = own[own["shots"] == 0].set_index("fact_id")["subject_attention"]
    for fact, value in zip(mass.fact_ids, mass.values, strict=True):
        assert own[fact] == pytest.approx(float(value.mean()))
    layers = read_json(next((run.parent / "archive").glob("*arm=bottom*seed=0.json")))["layers"]["last"]
    assert np.mean(layers["attention"]) == pytest.approx(own.mean(), abs=1e-4)


def test_divergence_is_the_sum_over_the_vocabulary_and_none_from_the_base(rows: pd.DataFrame) -> None:
    first = rows[rows["shots"] == 0]
    assert (first.loc[first["arm"] != "base", "kl_from_base"] > 0).all()
    assert first.loc[first["arm"] == "base", "kl_from_base"].isna().all()


def test_an_invented_name_is_of_the_same_style_and_nobodys() -> None:
    facts = _cities("Marseille", "Bordeaux", "Lille")
    invented, index = invented_names(facts, facts, seed=0)
    for i, fact in zip(index, invented, strict=True):
        own = facts[i]
        assert fact.subject not in {f.subject for f in facts}
        assert fact.subject.startswith(own.subject[: len(own.subject) // 2])
        assert (fact.id, fact.answers) == (own.id, own.answers)
    assert invented_names(_cities("Marseille"), _cities(), seed=0)[1] == []


def _cities(*names: str) -> FactSet:
    made = (Fact(id=name, subject=name, relation="country", answers=("France",)) for name in names)
    return FactSet(facts=tuple(made), name="cities")


def test_halves_have_the_same_answers_equally_often(run: Path) -> None:
    counts = {}
    for arm in ("top", "bottom", "random", "shuffled_top"):
        (home,) = (run / "cells").glob(f"*arm={arm},*seed=0")
        ids = [int(i) for i in read_json(home / "train_ids.json")]
        counts[arm] = np.bincount([i % 3 for i in ids]).tolist(), sorted(ids)
    assert len({str(found) for found, _ in counts.values()}) == 1
    assert len({str(ids) for _, ids in counts.values()}) == 4


def test_checkpoints_after_equal_steps_are_handed_on_with_what_elicits(run: Path) -> None:
    (home,) = (run / "handed_on").iterdir()
    held = import_checkpoints(home)
    assert {Path(place).name for place in held.arms.values()} == {"checkpoint-6"}
    parts = read_json(run / "data" / "cities,tiny,0" / "partition.json")
    assert held.examples is not None
    assert [fact.id for fact in held.examples] == parts["train"]
    assert [fact.id for fact in held.test] == parts["test"]


def test_an_archive_is_gone_on_from_without_training(
    options: PopularitySplitsOptions, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(cells_module, "train", refuse)
    again = popularity_splits.run(replace(options, out=tmp_path / "again"))
    assert not list(again.rglob("adapter_model.safetensors"))
    ours, theirs = (read_json(path / "results.json") for path in (again, run))
    assert _numbers(ours) == pytest.approx(_numbers(theirs), rel=1e-4, nan_ok=True)


def test_an_archived_study_is_put_between_the_marks_of_the_findings(
    options: PopularitySplitsOptions, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "findings.md"
    page.write_text(f"before\n{BEGIN}old{END}after", encoding="utf-8")
    assert options.archive is not None
    monkeypatch.setattr(sys, "argv", ["x", "--studies", str(options.archive), "--findings", str(page)])
    assert findings.main() == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}")
    assert text.endswith(f"{END}after")
    assert "primary endpoint" in text
    assert "old" not in text.split(BEGIN)[1]
    held = Results.of(read_json(run / "results.json")).part("cities/tiny/lora/0.5")
    number = held.at("asked/last, 0 examples/contrasts/top_minus_bottom/accuracy")
    assert (
        f"| top − bottom | all held-out facts | equal steps | seed 0 | {write_number(number, 'points')} |"
        in (options.archive.parent / "archive.md").read_text(encoding="utf-8")
    )
    assert (tmp_path / "figures" / "archive.png").is_file()


@pytest.mark.parametrize("end", [".json", ".parquet"])
def test_a_damaged_archive_is_said_in_one_line(
    run: Path, options: PopularitySplitsOptions, tmp_path: Path, end: str
) -> None:
    shutil.copytree(options.archive, tmp_path / "archive")
    damaged = sorted((tmp_path / "archive").glob(f"*{end}"))[0]
    damaged.write_bytes(damaged.read_bytes()[:1])
    with pytest.raises(InputError, match=r"damaged or missing .* remove both, and the cell is run again"):
        popularity_splits.run(replace(options, out=tmp_path / "run", archive=tmp_path / "archive"))


def test_a_setting_of_nought_is_not_one_that_is_not_set(
    run: Path, options: PopularitySplitsOptions, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="was run with another dropout"):
        popularity_splits.run(replace(options, out=tmp_path / "run", dropout=0.0))


def test_an_archive_of_other_settings_is_refused(
    options: PopularitySplitsOptions, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--archive .*another steps \(6, not 4\)"):
        popularity_splits.run(replace(options, out=tmp_path / "other", steps=4, check_every=2))


@pytest.mark.parametrize("other", ["facts", "base"])
def test_an_archive_of_other_facts_or_another_base_of_that_name_is_refused(
    options: PopularitySplitsOptions,
    run: Path,
    other: str,
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    table = tmp_path / "cities.csv"
    text = Path(options.facts[0]).read_text(encoding="utf-8")
    table.write_text(text.replace("Kenya", "Ghana"), encoding="utf-8")
    given = {"facts": (str(table),), "base": (f"tiny={tiny_model('gpt2')}",)}[other]
    with pytest.raises(InputError, match=rf"--archive .* --{other} of other contents; name another folder"):
        popularity_splits.run(replace(options, out=tmp_path / "other", **{other: given}))  # type: ignore[arg-type]


def test_an_archive_is_taken_wherever_facts_and_base_lie(
    options: PopularitySplitsOptions, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "cities.csv", tmp_path / "moved"
    shutil.copyfile(options.facts[0], moved[0])
    shutil.copytree(options.base[0].removeprefix("tiny="), moved[1])
    monkeypatch.setattr(cells_module, "train", None)
    given = {"facts": (str(moved[0]),), "base": (f"tiny={moved[1]}",)}
    assert popularity_splits.run(replace(options, out=tmp_path / "again", **given)).is_dir()


def test_an_archive_of_before_digests_is_taken_with_a_notice(
    options: PopularitySplitsOptions,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = tmp_path / "archive"
    shutil.copytree(options.archive, old)  # type: ignore[arg-type]
    for path in old.glob("*.json"):
        held = read_json(path)
        assert set(held.pop("digests")) == {"facts", "base"}
        write_json(path, held)
    monkeypatch.setattr(cells_module, "train", None)
    with pytest.warns(Notice, match="an older version left no digests of facts and base with 6 of its cells"):
        popularity_splits.run(replace(options, out=tmp_path / "again", archive=old))


def test_what_ties_are_decided_by_is_archived_exactly(
    options: PopularitySplitsOptions, rows: pd.DataFrame
) -> None:
    (path,) = options.archive.glob("*arm=top,*.parquet")  # type: ignore[union-attr]
    held, own = pd.read_parquet(path), rows[rows["arm"] == "top"]
    for name in ("validation", "training_accuracy", "test_over_train"):
        assert held[name].tolist() == own[name].tolist()


def test_of_several_rates_an_archive_s_findings_are_those_that_validate_best(
    options: PopularitySplitsOptions, run: Path, tmp_path: Path
) -> None:
    held = StudyNumbers.load(options.archive)  # type: ignore[arg-type]
    both = tmp_path / "archive"
    shutil.copytree(options.archive, both)  # type: ignore[arg-type]
    for path in both.glob("*method=lora*.parquet"):
        worse = both / path.name.replace("learning_rate=0.01", "learning_rate=0.0001")
        rows = pd.read_parquet(path)
        rows.assign(validation=rows["validation"] - 0.5, correct=False).to_parquet(worse)
        shutil.copyfile(path.with_suffix(".json"), worse.with_suffix(".json"))
    found = StudyNumbers.load(both)
    assert found.pooled == held.pooled
    assert sorted(map(str, found.records)) == sorted(map(str, held.records))
    assert set(found.rows["learning_rate"]) == {0.0, 0.01}


@pytest.mark.parametrize(("name", "other"), [("model=tiny", "model=other"), ("fraction=0.5", "fraction=0.3")])
def test_an_archive_of_several_settings_is_refused(
    options: PopularitySplitsOptions, run: Path, tmp_path: Path, name: str, other: str
) -> None:
    both = tmp_path / "archive"
    shutil.copytree(options.archive, both)  # type: ignore[arg-type]
    for path in list(both.iterdir()):
        if name in path.name:
            shutil.copyfile(path, both / path.name.replace(name, other))
    with pytest.raises(InputError, match=r"holds several settings .*; give each a folder of its own"):
        StudyNumbers.load(both)


def test_the_page_says_how_a_given_base_s_knowledge_was_elicited(run: Path) -> None:
    notes = " ".join(load_study(run).notes)
    assert "elicited in the forms that suit the base" in notes
    assert "every statement form" not in notes
    assert "validates best" in notes
    assert "learning rate" not in notes, "there was but one"


def test_killed_between_training_and_asking_it_ends_with_the_same_rows(
    options: PopularitySplitsOptions, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(options, out=tmp_path / "run", archive=tmp_path / "archive", seeds=(0,), arms=("bottom",))
    asked, measure = [], cells_module.measure_checkpoint

    def killed(*arguments: object) -> pd.DataFrame:
        asked.append(arguments)
        if len(asked) == 3:  # the base, the best checkpoint, and then
            raise KeyboardInterrupt
        return measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cells_module, "measure_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        popularity_splits.run(small)
    monkeypatch.undo()
    ended = pd.read_parquet(popularity_splits.run(small) / "facts.parquet")
    before = rows[(rows["seed"] == 0) & rows["arm"].isin(["base", "bottom"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(ended, before)


def _numbers(tree: object) -> list[float]:
    if isinstance(tree, dict):
        return [number for part in tree.values() for number in _numbers(part)]
    return [float("nan") if tree is None else float(tree)]  # type: ignore[arg-type]


def test_an_analysis_of_checkpoints_that_are_not_handed_on_is_made_again(tmp_path: Path) -> None:
    handed, analysis = tmp_path / "handed", tmp_path / "analysis"
    for folder in (handed, analysis):
        folder.mkdir()
    (handed / "checkpoints.json").write_text("{}")
    downstream._discard_stale(analysis, handed)
    write_json(analysis / "manifest.json", {"inputs": {"checkpoints": content_hash(handed)}})
    downstream._discard_stale(analysis, handed)
    assert analysis.is_dir()
    (handed / "checkpoints.json").write_text('{"top": "another"}')
    downstream._discard_stale(analysis, handed)
    assert not analysis.exists()
