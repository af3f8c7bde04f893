"""Planted truth and stored-or-suppressed as their users run them: files, keys, continuing, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses import planted_truth, stored_or_suppressed
from analyses.attention_imbalance import run as main_job
from analyses.experiments.attention_imbalance.options import AttentionImbalanceOptions as MainOptions
from analyses.experiments.stored_or_suppressed import stages as suppression
from analyses.experiments.stored_or_suppressed.head_transplants import head_table
from analyses.experiments.stored_or_suppressed.pathway_page import pathway_sentence
from analyses.experiments.stored_or_suppressed.sentences import asking_sentence
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.run_directory import RunDirectory
from interp.reports.pages.study_files import load_study
from interp.reports.read.results import Results
from interp.verdicts.diagnosis import STORED, VERDICTS
from interp.weight_edits import GROUPS

HIDDEN = 40  # facts whose answers are ranked
LESSONS = (10, 20)  # steps


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def planted(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Damage of three kinds in the tiny world, which stores little: its numbers mean nothing."""
    options = planted_truth.PlantedTruthOptions(
        out=tmp_path_factory.mktemp("runs") / "planted",
        world="tiny",
        question_form="seen",
        damage=("natural", "targeted", "identity"),
        seeds=(0,),
        subjects=70,
        absent=0.2,
        met=5,
        lesson_steps=(5,),
        pretrain_steps=500,
        plant_steps=30,
        cache=cache,
        workers=1,
        quiet=True,
    )
    return planted_truth.run(options)


def test_planted_truth_leaves_its_numbers_with_intervals(planted: Path) -> None:
    results = read_json(planted / "results.json")
    cell = results["cells"]["natural_routing_asked"]
    for rule in ("rule_every", "rule_any"):
        assert set(cell["called"][rule]["of_lost"]) == {"value", "low", "high", "n"}
        assert {"precision_0.1", "precision_0.5", "precision_0.9", "of_never"} <= set(cell["called"][rule])
    assert set(results["stored_against_overwritten"]) == set(cell["auroc"]) == {"stated", "forms", "asked"}
    assert set(cell["lesson"]) == {"after_5"}
    assert "Called stored in some degree" in (planted / "report.html").read_text()
    assert read_json(planted / "manifest.json")["finished"]


def test_planted_numbers_can_be_computed_again_from_the_facts(planted: Path) -> None:
    frame, results = pd.read_parquet(planted / "facts.parquet"), read_json(planted / "results.json")
    some = (frame["how"] == "natural") & (frame["part"] == "routing")
    lost = frame[some & (frame["truth"] == "stored")]
    cell = results["cells"]["natural_routing_asked"]
    assert cell["called"]["rule_any"]["of_lost"]["value"] == pytest.approx((lost["stated_share"] > 0).mean())
    stated = (lost["stated_share"] == 1).mean()
    assert cell["called"]["rule_every"]["of_lost"]["value"] == pytest.approx(stated)
    for verdict, share in cell["verdicts"].items():
        named = lost["verdict"].str.replace(",", "").str.replace(" ", "_") == verdict
        assert share["value"] == pytest.approx(named.mean())


def test_the_truth_is_what_was_done(planted: Path) -> None:
    frame = pd.read_parquet(planted / "facts.parquet")
    truths = frame.groupby(["how", "part"])["truth"].agg(
        lambda some: set(some) - {"", "absent", "rare", "retained"}
    )
    assert truths["natural", "routing"] <= {"stored"}
    assert truths["natural", "values"] <= {"damaged"}
    assert truths["targeted", "values"] == {"overwritten"}
    assert frame.loc[frame["truth"] == "absent", "met"].isna().all()
    assert (frame.loc[frame["truth"].isin(["stored", "overwritten", "retained"]), "met"] >= 5).all()
    targeted = frame["how"] == "targeted"
    assert frame.loc[targeted & frame["truth"].isin(["stored", "overwritten"]), "target"].all()


def test_a_base_held_against_itself_says_the_same_and_erases_nothing(planted: Path) -> None:
    frame = pd.read_parquet(planted / "facts.parquet")
    same = frame[frame["how"] == "identity"]
    assert (same["said"] == same["base_said"]).all()
    assert not (same.loc[same["truth"] == "stored", "verdict"] == "erased").any()
    stated = same.loc[same["truth"] == "stored", "stated_share"]
    assert (stated == 1).all(), "what it states it still states"


@pytest.fixture(scope="module")
def job(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = MainOptions(
        out=tmp_path_factory.mktemp("runs") / "job",
        world="tiny",
        pretrain_steps=500,
        tune_steps=20,
        cache=cache,
        quiet=True,
    )
    return main_job(options)


@pytest.fixture(scope="module")
def verdicts(job: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = stored_or_suppressed.StoredOrSuppressedOptions(
        out=tmp_path_factory.mktemp("runs") / "verdicts",
        run=job,
        cache=cache,
        quiet=True,
        hidden_facts=HIDDEN,
        lesson_steps=LESSONS,
    )
    return stored_or_suppressed.run(options)


def test_the_main_jobs_arms_are_diagnosed_without_training_them_again(job: Path, verdicts: Path) -> None:
    assert not (verdicts / "seeds" / "0" / "arms").exists()
    frame = pd.read_parquet(verdicts / "facts.parquet")
    assert set(frame["arm"]) == {"top", "bottom", "random", "whole"}
    assert set(frame["verdict"]) <= set(VERDICTS)
    asked = pd.read_parquet(job / "facts.parquet").set_index(["arm", "fact_id"])
    mine = frame.set_index(["arm", "fact_id"])
    assert (mine["said"] == asked.loc[mine.index, "prediction"]).all()
    assert (mine["right"] == asked.loc[mine.index, "correct"]).all()


def test_shares_of_lost_facts_add_up_and_heads_have_placebos(verdicts: Path) -> None:
    results = read_json(verdicts / "results.json")
    for arm in results["arms"].values():
        parts = [arm[f"{name}_of_lost"]["value"] for name in ("stored", "erased", "undetermined")]
        assert parts[0] is None or sum(parts) == pytest.approx(1)
    heads = pd.read_parquet(verdicts / "heads.parquet")
    if len(heads):
        assert {"gain", "low", "high", "placebo", "n"} <= set(heads.columns)
    assert "What became of the facts" in (verdicts / "report.html").read_text()


def test_error_rates_and_the_lead_over_never_stored_facts_are_those_of_the_table(verdicts: Path) -> None:
    frame, results = pd.read_parquet(verdicts / "facts.parquet"), read_json(verdicts / "results.json")
    assert {"stated_share", "evidence_forms", "tied", "base_right", "base_rank"} <= set(frame)
    lost = frame[(frame["base_knew"] == 1) & ~frame["right"]]
    for arm, rows in lost.groupby("arm"):
        tree = results["arms"][arm]
        assert tree["stored_of_lost"]["value"] == pytest.approx(rows["verdict"].isin(STORED).mean())
        own = frame[frame["arm"] == arm]
        never, kept = own[own["control_never"]], own[own["verdict"] == "retained"]
        passed = tree["controls"]["never"]["false_positives"]["value"]
        assert passed == pytest.approx((never["stated_share"] > 0).mean())
        lead = tree["stored_above_never"]["value"]
        assert lead == pytest.approx(tree["stored_of_lost"]["value"] - passed)
        if len(kept):
            assert tree["retained"]["missed"]["value"] == pytest.approx((kept["stated_share"] < 1).mean())
            assert tree["retained"]["unseen"]["value"] == pytest.approx((kept["stated_share"] == 0).mean())
    assert "facts that nothing stores, and facts that were kept" in (verdicts / "report.html").read_text()


def test_answers_are_ranked_outside_and_inside_of_some_facts(verdicts: Path) -> None:
    frame, results = pd.read_parquet(verdicts / "facts.parquet"), read_json(verdicts / "results.json")
    for arm, rows in frame.groupby("arm"):
        some = rows[rows["k_external"].notna()]
        assert 0 < len(some) <= HIDDEN
        assert some["base_k_external"].notna().all()
        numbers = results["arms"][arm]["hidden"]["never"]
        mine = some[some["control_never"]]
        assert numbers["k_external"]["n"] == len(mine)
        if len(mine):
            assert numbers["base_k_internal"]["value"] == pytest.approx(mine["base_k_internal"].mean())
    assert "Hidden knowledge" in (verdicts / "report.html").read_text()


def test_recognition_is_held_against_never_stored_facts(verdicts: Path) -> None:
    frame, results = pd.read_parquet(verdicts / "facts.parquet"), read_json(verdicts / "results.json")
    for arm, rows in frame.groupby("arm"):
        some = rows[rows["recognition"].notna()]
        lost = some[(some["base_knew"] == 1) & ~some["right"]]
        pairs = (
            lost["recognition"].to_numpy()[:, None]
            - some.loc[some["control_never"], "recognition"].to_numpy()
        )
        area = results["arms"][arm]["recognition"]["above_never"]["value"]
        assert area is None or area == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())
    assert "Recognition: lost facts" in (verdicts / "report.html").read_text()


def test_no_table_has_two_columns_of_one_name(verdicts: Path, planted: Path) -> None:
    for run in (verdicts, planted):
        for table in load_study(run).tables:
            assert len(set(table.columns)) == len(table.columns), table.title


def test_grafts_of_weights_are_asked_and_shared_out(verdicts: Path) -> None:
    frame, grafted = (pd.read_parquet(verdicts / f"{name}.parquet") for name in ("facts", "pathway"))
    results, page = read_json(verdicts / "results.json"), (verdicts / "report.html").read_text()
    for arm, tree in results["arms"].items():
        lost = frame[(frame["arm"] == arm) & (frame["base_knew"] == 1) & ~frame["right"]]
        if lost.empty:
            continue
        some = grafted[(grafted["arm"] == arm) & (grafted["donor"] == "base")]
        assert set(some["fact_id"]) == set(lost["fact_id"]), "fewer than the cap, so all of them"
        right = some.groupby("subset")["right"].mean()
        plain = some[some["subset"] == ""].set_index("fact_id")["log_prob"]
        hooked = lost.set_index("fact_id")["log_prob"][plain.index]
        assert plain.to_numpy() == pytest.approx(hooked.to_numpy(), abs=1e-3)
        assert right[""] == 0, "no group grafted: still lost"
        numbers = tree["pathway"]
        assert numbers["restored"]["base"]["value"] == pytest.approx(right["qk+vo+mlp+embeddings"])
        shares = [numbers[group]["shapley"] for group in GROUPS]
        assert sum(share["value"] for share in shares) == pytest.approx(right["qk+vo+mlp+embeddings"])
        assert numbers["mlp"]["alone"]["value"] == pytest.approx(right["mlp"])
        for group in GROUPS:
            for name in ("shapley", "alone", "placebo", "sibling"):
                assert set(numbers[group][name]) == {"value", "low", "high", "n"}
                assert numbers[group][name]["n"] == len(lost)
        assert f"{arm}: with the base's weights" in page.replace("&#39;", "'").replace("&#x27;", "'")


def test_lost_facts_are_asked_again_after_lessons_on_other_subjects(verdicts: Path, job: Path) -> None:
    frame, results = pd.read_parquet(verdicts / "facts.parquet"), read_json(verdicts / "results.json")
    wrong = ~frame["right"]
    for column in (f"{name}_{steps}" for name in ("restored", "placebo") for steps in LESSONS):
        assert set(frame.loc[wrong, column].unique()) <= {0.0, 1.0}
        assert frame.loc[~wrong, column].isna().all(), "who was right already cannot be restored"
    lost = frame[wrong & (frame["base_knew"] == 1)]
    numbers = results["lesson_all"]["after_20"]
    assert numbers["restored"]["lost"]["value"] == pytest.approx(lost["restored_20"].mean())
    assert numbers["restored"]["lost"]["n"] == len(lost)
    assert set(numbers["auroc"]) == {"stated", "forms", "asked", "recognition"}
    assert not list((verdicts / "seeds/0/lessons").rglob("*.safetensors")), "taught models are not kept"
    page = (verdicts / "report.html").read_text()
    assert page.index("Answered right again after a lesson") < page.index("What became of the facts")


def test_lessons_on_arms_that_are_trained_here_are_three_unless_told_otherwise() -> None:
    assert stored_or_suppressed.StoredOrSuppressedOptions().steps_of_lessons == (10, 30, 50)
    own = stored_or_suppressed.StoredOrSuppressedOptions(base="b", finetuned=("a=c",), facts="f")
    assert own.steps_of_lessons == ()


def test_the_sentence_names_a_group_only_where_intervals_do() -> None:
    def numbers(lead: float, above: float, nats: float = 1.0) -> Results:
        def at(value: float) -> dict[str, float | int]:
            return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}

        groups = {
            group: {
                "shapley": at(0.5 if group == "mlp" else 0.1),
                "placebo": at(0.0),
                "above_placebo": at(above if group == "mlp" else 0.0),
                "lead": at(lead if group == "mlp" else -lead),
                "nats": at(nats),
            }
            for group in GROUPS
        }
        return Results.of({"restored": {"base": at(0.8)}, **groups})

    assert "MLP carry most of it (50.0%" in pathway_sentence("arm", numbers(0.3, 0.4))
    assert "MLP bring back more than their placebo, none" in pathway_sentence("arm", numbers(0.05, 0.4))
    assert "cannot be told" in pathway_sentence("arm", numbers(0.3, 0.05))
    assert "cannot be told" in pathway_sentence("arm", numbers(0.3, 0.4, nats=-1.0)), "right by luck"
    assert "no lost fact" in pathway_sentence("arm", Results.of({}))


def test_where_the_asked_form_fails_the_finding_says_so() -> None:
    def numbers(base: float, **lost: float) -> Results:
        def at(value: float) -> dict[str, float | int]:
            return {"value": value, "low": value, "high": value, "n": 50}

        arms = {name: {"base_as_asked": at(base), "lost": at(share)} for name, share in lost.items()}
        return Results.of({"arms": arms})

    assert asking_sentence(numbers(0.6, lora=0.9)) == ""
    trained = asking_sentence(numbers(0.02, lora=0.3))
    assert "the base itself answers 2.0%" in trained
    assert "--shots" not in trained, "an arm that answers was trained to be asked so"
    failed = asking_sentence(numbers(0.02, lora=0.3, test=0.9, other=0.95))
    assert "So little is right of test and other that the form" in failed
    assert "--shots" in failed


def test_typical_suppressed_facts_are_pictured_as_their_models_attend(verdicts: Path) -> None:
    frame = pd.read_parquet(verdicts / "facts.parquet").set_index(["arm", "fact_id"])
    pictures = read_json(verdicts / "pictures.json")
    assert set(pictures) == {"top", "bottom", "random", "whole"}
    for arm, some in pictures.items():
        assert len(some) == min(3, frame.loc[[arm]]["verdict"].isin(STORED).sum())
        for seen in some:
            fact = frame.loc[(arm, seen["fact_id"])]
            assert fact["verdict"] in STORED
            rows = {fact["other"]: fact["attention_other"], arm: fact["attention"]}
            assert list(seen["rows"]) == list(dict.fromkeys(("base", *rows)))
            for name, row in seen["rows"].items():
                on_subject = sum(w for w, marked in zip(row, seen["subject"], strict=True) if marked)
                assert on_subject == pytest.approx(rows.get(name, on_subject), abs=1e-3)
                assert sum(row) == pytest.approx(1, abs=1e-3)


def test_a_run_that_another_rule_of_verdicts_began_is_not_continued(tmp_path: Path) -> None:
    """Its cells hold verdicts already, which would stand beside others of today's rule."""
    options = planted_truth.PlantedTruthOptions(out=tmp_path / "run", world="tiny", seeds=(0,), quiet=True)
    RunDirectory(options.out, options.config(), analysis="planted_truth").write(seeds=(0,))
    with pytest.raises(InputError, match="verdict_rule is None there and stated is right in a held-out form"):
        planted_truth.run(options)


def test_a_finished_run_is_left_alone_and_another_one_is_refused(verdicts: Path, job: Path) -> None:
    written = (verdicts / "results.json").stat().st_mtime_ns
    same = stored_or_suppressed.StoredOrSuppressedOptions(
        out=verdicts, run=job, quiet=True, hidden_facts=HIDDEN, lesson_steps=LESSONS
    )
    assert stored_or_suppressed.run(same) == verdicts
    assert (verdicts / "results.json").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="holds another run"):
        stored_or_suppressed.run(
            stored_or_suppressed.StoredOrSuppressedOptions(out=verdicts, run=job, quiet=True, form_shots=1)
        )


def test_one_arm_alone_can_be_written(verdicts: Path, tmp_path: Path) -> None:
    """With several arms pandas drops what it cannot write; with one it used to fail."""
    home = verdicts / "seeds" / "0" / "verdicts"
    options = stored_or_suppressed.StoredOrSuppressedOptions(out=verdicts)
    frame, _ = suppression._verdicts(options, None, "top", home, 0, None)  # type: ignore[arg-type]
    frame.to_parquet(tmp_path / "top.parquet")
    assert set(pd.read_parquet(tmp_path / "top.parquet")["arm"]) == {"top"}


def test_mistakes_name_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        stored_or_suppressed.run(
            stored_or_suppressed.StoredOrSuppressedOptions(out=tmp_path / "x", run=tmp_path)
        )
    with pytest.raises(InputError, match="--form-shots -1"):
        stored_or_suppressed.run(
            stored_or_suppressed.StoredOrSuppressedOptions(out=tmp_path / "x", form_shots=-1)
        )
    with pytest.raises(InputError, match="--absent 0"):
        planted_truth.run(planted_truth.PlantedTruthOptions(out=tmp_path / "x", absent=0))
    assert not (tmp_path / "x").exists()


def test_heads_pair_their_placebos() -> None:
    grid = pd.DataFrame(
        {
            "layer": 0,
            "head": 1,
            "subject": list("abcd"),
            "effect": [1.0, 2, 3, 4],
            "placebo": [1.0, 1, np.nan, np.nan],
        }
    )
    (row,) = head_table(grid).to_dict("records")
    assert (row["gain"], row["n"]) == (2.5, 4)
    assert (row["placebo"], row["difference"], row["placebo_n"]) == (1.0, 0.5, 2)
