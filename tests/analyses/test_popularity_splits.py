"""The paper's experiment as its users run it: arms, cells, what is chosen, what is handed on, bad input."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import popularity_splits
from analyses.common.checkpoints import export_checkpoints, import_checkpoints
from analyses.experiments.popularity_splits.experiment import EXPERIMENT
from analyses.experiments.popularity_splits.numbers import select_rates_by_validation, summarise
from analyses.experiments.popularity_splits.options import PopularitySplitsOptions
from analyses.experiments.popularity_splits.options_file import command_words, words
from analyses.experiments.popularity_splits.tuning import tune_config
from finetune.common.errors import InputError
from finetune.common.files import read_json, write_json
from interp.reports.pages.study_files import load_study

TINY = "world:tiny"


def options(out: Path, cache: Path, **more: object) -> PopularitySplitsOptions:
    """The tiny world, whose numbers mean nothing, trained at two rates for a few steps."""
    made = PopularitySplitsOptions(
        out=out,
        cache=cache,
        facts=(TINY,),
        seeds=(0,),
        methods=("full",),
        learning_rates=(1e-3, 3e-3),
        steps=15,
        batch=32,
        workers=1,
        quiet=True,
        analyse=(),
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def grid(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "splits"
    return popularity_splits.run(options(out, cache, analyse=("attention", "verdicts")))


@pytest.fixture(scope="module")
def rows(grid: Path) -> pd.DataFrame:
    return pd.read_parquet(grid / "facts.parquet")


def test_every_cell_is_a_run_directory_of_its_own(grid: Path, rows: pd.DataFrame) -> None:
    homes = sorted((grid / "cells").iterdir())
    assert len(homes) == 1 + 4 * 2  # the base, and four arms at two rates
    for home in homes:
        manifest, results = read_json(home / "manifest.json"), read_json(home / "results.json")
        own = pd.read_parquet(home / "facts.parquet")
        assert manifest["finished"]
        assert results["correct"]["value"] == pytest.approx(own["correct"].mean())
        assert results["correct"]["n"] == len(own) == manifest["facts"]
    assert set(rows["arm"]) == {"base", "top", "bottom", "random", "whole"}


def test_arms_are_halves_by_popularity_and_share_no_subject_with_the_test(grid: Path) -> None:
    facts = pd.read_parquet(grid / "data" / f"tiny,small,{0}" / "facts.parquet").set_index("id")
    parts = read_json(grid / "data" / "tiny,small,0" / "partition.json")
    by_subject = facts.groupby("subject")["popularity"].max()
    ids = {
        home.name.split("arm=")[1].split(",")[0]: read_json(home / "train_ids.json")
        for home in (grid / "cells").iterdir()
        if (home / "train_ids.json").is_file()
    }
    popularity = {arm: by_subject[facts.loc[some, "subject"]].to_numpy() for arm, some in ids.items()}
    assert popularity["top"].min() >= popularity["bottom"].max()
    assert not set(ids["top"]) & set(ids["bottom"])
    assert len(ids["top"]) == len(ids["bottom"]) == len(ids["random"]) == len(parts["train"]) // 2
    assert set(ids["whole"]) == set(parts["train"])
    for held in ("test", "validation"):
        subjects = set(facts.loc[parts[held], "subject"])
        assert not subjects & set(facts.loc[ids["whole"], "subject"])


def test_validation_alone_chooses_the_rate_and_the_numbers_follow_from_the_rows(
    grid: Path, rows: pd.DataFrame
) -> None:
    arms = read_json(grid / "results.json")["tiny"]["small"]["full"]["0.5"]["arms"]
    for arm in ("top", "bottom", "random", "whole"):
        validated = {}
        for home in (grid / "cells").iterdir():
            if f"arm={arm}," in home.name:
                manifest = read_json(home / "manifest.json")
                validated[float(manifest["config"]["learning_rate"])] = manifest["validation"]
        best = max(sorted(validated), key=lambda rate: validated[rate])
        own = rows[(rows["arm"] == arm) & np.isclose(rows["learning_rate"], best)]
        assert arms[arm]["accuracy"]["value"] == pytest.approx(own["correct"].mean())
        known = own[own["known"]]
        if len(known):
            assert arms[arm]["accuracy_known"]["value"] == pytest.approx(known["correct"].mean())


def test_of_equal_validation_the_smaller_rate_is_taken_and_seeds_choose_for_themselves() -> None:
    made = pd.DataFrame(
        [
            {
                "dataset": "d", "model": "m", "method": "full", "arm": "top", "fraction": 0.5, "seed": seed,
                "learning_rate": rate, "validation": right, "fact_id": "f", "correct": rate > 1,
            }
            for seed, rate, right in ((0, 2.0, 0.5), (0, 1.0, 0.5), (1, 1.0, 0.2), (1, 2.0, 0.3))
        ]
    )  # fmt: skip
    picked = select_rates_by_validation(made).set_index("seed")["learning_rate"]
    assert picked.to_dict() == {0: 1.0, 1: 2.0}


@pytest.mark.parametrize("share", [0.1, 0.48044692737430167])
def test_equal_validation_is_equal_in_an_archive_of_half_the_digits(share: float) -> None:
    """0.1 is more, 0.48... less as float32."""
    kept = {"dataset": "d", "model": "m", "method": "full", "arm": "top", "fraction": 0.5, "seed": 0}
    for smaller, larger in ((share, float(np.float32(share))), (float(np.float32(share)), share)):
        rates = pd.DataFrame({"learning_rate": [1.0, 2.0], "validation": [smaller, larger]}).assign(**kept)
        assert select_rates_by_validation(rates)["learning_rate"].tolist() == [1.0]


def test_the_page_says_what_is_known_and_chosen_in_this_run(grid: Path) -> None:
    notes = " ".join(load_study(grid).notes)
    assert "pretrained here if it completes every statement form" in notes
    assert "Its learning rate was chosen on validation facts" in notes
    assert "elicited" not in notes
    assert "option" not in notes


def test_differences_are_paired_by_fact() -> None:
    """Two arms that are right on other facts, equally often: no difference, and a wide interval."""
    made = []
    for arm, right in (("top", (1, 0, 1, 0)), ("bottom", (0, 1, 0, 0))):
        for i, correct in enumerate(right):
            made.append(
                {
                    "dataset": "d", "model": "m", "method": "full", "arm": arm, "fraction": 0.5, "seed": 0,
                    "learning_rate": 1.0, "validation": 0.0, "fact_id": str(i), "subject": str(i),
                    "known": i < 2, "correct": bool(correct), "contains": True, "log_prob": -1.0,
                    "quartile": i + 1,
                }
            )  # fmt: skip
    contrast = summarise(pd.DataFrame(made))["d"]["m"]["full"]["0.5"]["contrasts"]["top_minus_bottom"]
    assert contrast["accuracy"]["value"] == pytest.approx(0.25)
    assert contrast["accuracy_known"]["value"] == 0
    assert contrast["accuracy_known"]["n"] == 2


@pytest.mark.parametrize("analysis", ["attention", "verdicts"])
def test_what_is_handed_on_is_asked_in_just_the_same_words(
    grid: Path, rows: pd.DataFrame, analysis: str
) -> None:
    (home,) = (grid / "analyses").iterdir()
    looked = pd.read_parquet(home / analysis / "facts.parquet")
    said = "correct" if analysis == "attention" else "right"
    picked = select_rates_by_validation(rows)
    for arm in ("top", "bottom", "whole"):
        theirs = looked[looked["arm"] == arm].set_index("fact_id")[said].astype(bool)
        ours = picked[picked["arm"] == arm].set_index("fact_id")["correct"]
        assert len(theirs) > 20
        assert (theirs == ours.loc[theirs.index]).all()
    assert read_json(home / analysis / "manifest.json")["finished"]
    assert set(read_json(grid / "manifest.json")["reports"]) == {
        f"{home.name}: attention",
        f"{home.name}: verdicts",
    }


def test_handed_on_checkpoints_come_back_as_they_went(grid: Path, tmp_path: Path) -> None:
    (home,) = (grid / "handed_on").iterdir()
    before = import_checkpoints(home)
    after = import_checkpoints(export_checkpoints(tmp_path / "elsewhere", before))
    assert after == before
    with pytest.raises(InputError, match="holds no checkpoints"):
        import_checkpoints(tmp_path)
    listed = read_json(tmp_path / "elsewhere" / "checkpoints.json")
    write_json(tmp_path / "elsewhere" / "checkpoints.json", {**listed, "base": "./gone"})
    with pytest.raises(InputError, match="gone; run popularity_splits again"):
        import_checkpoints(tmp_path / "elsewhere")


def test_the_same_command_repeats_nothing_and_another_run_can_use_the_very_same_split(
    grid: Path, cache: Path, tmp_path: Path
) -> None:
    before = (grid / "results.json").read_bytes()
    again = options(grid, cache, analyse=("attention", "verdicts"))
    assert popularity_splits.run(again) == grid
    assert (grid / "results.json").read_bytes() == before
    other = options(tmp_path / "other", cache, splits=grid, arms=("top",), learning_rates=(1e-3,), steps=2)
    popularity_splits.run(other)
    held, ours = (run / "data" / "tiny,small,0" / "partition.json" for run in (grid, tmp_path / "other"))
    assert read_json(held) == read_json(ours)


def test_two_chance_halves_that_share_no_fact_are_the_placebo_contrast() -> None:
    rows = pd.DataFrame(
        [
            {
                "dataset": "d", "model": "m", "method": "full", "arm": arm, "fraction": 0.5, "seed": 0,
                "fact_id": str(i), "subject": str(i), "known": True, "quartile": 1, "log_prob": 0.0,
                "contains": True, "correct": arm == "shuffled_top" or i < 5,
            }
            for arm in ("shuffled_top", "shuffled_bottom")
            for i in range(10)
        ]
    )  # fmt: skip
    found = summarise(rows)["d"]["m"]["full"]["0.5"]["contrasts"]["shuffled_top_minus_shuffled_bottom"]
    assert found["accuracy"]["value"] == 0.5


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Multiple-choice questions with a header; one of them has a right answer that is not there."""
    path = tmp_path / "history_test.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "choice0", "choice1", "choice2", "choice3", "answer"])
        for i in range(90):
            writer.writerow([f"Who won {i}?", *"Ann Bob Cy Di".split(), i % 4])
        writer.writerow(["Who was nobody?", "Ann", "Bob", "Cy", "Di", 7])
    return path


def test_multiple_choice_on_a_model_of_ones_own_with_adapters(
    tiny_model: Callable[[str], Path],
    questions: Path,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = options(
        tmp_path / "run",
        cache,
        facts=(f"history={questions}",),
        base=(f"tiny={tiny_model('llama')}",),
        popularity="confidence",
        methods=("lora",),
        arms=("top", "bottom"),
        learning_rates=(1e-3,),
        steps=2,
        rank=2,
        analyse=("attention",),
    )
    popularity_splits.run(made)
    numbers = read_json(made.out / "results.json")["history"]["tiny"]["lora"]["0.5"]
    assert 0 <= numbers["arms"]["top"]["choice"]["low"] <= numbers["arms"]["top"]["choice"]["high"] <= 1
    frame = pd.read_parquet(made.out / "facts.parquet")
    assert set(frame["answer"]) == {"Ann", "Bob", "Cy", "Di"}
    assert frame["popularity"].between(0, 1).all()
    assert frame["popularity"].nunique() > 10
    left_out = read_json(made.out / "manifest.json")["left_out"]
    assert any("history" in item["where"] and "92" in item["where"] for item in left_out)
    EXPERIMENT.show(made.out)
    assert "not run" not in capsys.readouterr().err, "a row that is set aside is no cell that failed"
    base = frame[frame["arm"] == "base"]
    assert (base["known"] == base["choice_correct"]).all(), "the base knows what it picks"
    assert [note for note in load_study(made.out).notes if "known" in note] == [
        "A multiple-choice fact is known to the base if it picks the right option as asked."
    ]


def test_a_yaml_file_says_the_same_as_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tyro

    path = tmp_path / "runs.yaml"
    path.write_text(
        "facts: {mine: facts.csv}\nfractions: [0.3, 0.5]\nmethods: [lora]\nsteps: 7\nchat: true\nlimit:\n"
        "gradient-checkpointing: false\n"
    )
    given = ["--facts", "mine=facts.csv", "--fractions", "0.3", "0.5", "--methods", "lora", "--chat"]
    by_hand = tyro.cli(PopularitySplitsOptions, args=[*given, "--steps", "7", "--yaml", str(path)])
    assert tyro.cli(PopularitySplitsOptions, args=[*words(path), "--yaml", str(path)]) == by_hand
    monkeypatch.setattr("sys.argv", ["popularity_splits.py", f"--yaml={path}", "--steps", "9"])
    assert tyro.cli(PopularitySplitsOptions, args=command_words()) == replace(by_hand, steps=9)
    path.write_text("fraction: 0.5\n")
    with pytest.raises(InputError, match=r"fraction: there is no such option.*fractions"):
        words(path)
    path.write_text("facts: [a\n")
    with pytest.raises(InputError, match=r"runs.yaml:\d: is not YAML"):
        words(path)
    with pytest.raises(InputError, match=r"missing.yaml: cannot be read"):
        words(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": ()}, "--facts: name at least one"),
        ({"facts": ("a/x.csv", "b/x.csv")}, "two are called x"),
        ({"facts": ("world:nowhere",)}, "choose one of world:long-tail"),
        ({"base": ("gpt2",)}, "invented facts, .*; leave --base"),
        ({"fractions": (0.0,)}, "between 0 and 1, not 0"),
        ({"popularity": "fame"}, "--popularity fame: choose one of views"),
        ({"preset": "gpt-9", "facts": ("x.csv",)}, "--preset gpt-9: choose one of"),
        ({"steps": 5, "epochs": 1.0}, "give one of them"),
        ({"last": True, "keep": "loss"}, "--last and --keep loss: .*; leave one out"),
        ({"template": "Answer:"}, "where it belongs"),
        ({"learning_rates": (-1.0,)}, "--learning-rates -1: give a number between 0 and 10"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        popularity_splits.run(options(tmp_path / "run", tmp_path, **change))
    assert not (tmp_path / "run").exists()


def test_data_without_popularity_or_with_too_few_facts_leave_nothing(
    tiny_model: Callable[[str], Path], questions: Path, tmp_path: Path
) -> None:
    base = (str(tiny_model("llama")),)
    with pytest.raises(InputError, match="brings no popularity to split by"):
        popularity_splits.run(options(tmp_path / "run", tmp_path, facts=(str(questions),), base=base))
    assert not (tmp_path / "run").exists()
    few = options(
        tmp_path / "few", tmp_path, facts=(str(questions),), base=base, popularity="answer_frequency",
        fractions=(0.02,), arms=("top",),
    )  # fmt: skip
    with pytest.raises(InputError, match="the top arm gets 1 of"):
        popularity_splits.run(few)


def test_a_preset_and_the_options_that_override_it(tmp_path: Path) -> None:
    made = options(tmp_path, tmp_path, learning_rates=(), steps=None, batch=None, rank=3, targets=("q_proj",))
    lora, full = tune_config(made, "lora"), tune_config(made, "full")
    assert (lora.rank, lora.targets, lora.method) == (3, ("q_proj",), "lora")
    assert min(lora.learning_rates) > min(full.learning_rates)
