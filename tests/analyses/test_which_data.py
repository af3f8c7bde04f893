"""Choosing one's own rows: the best by the base, in the format that they came in, nothing lost in silence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyses import which_data
from analyses.experiments.popularity_proxies.experiment import accept
from analyses.experiments.popularity_proxies.options import PopularityProxiesOptions
from analyses.experiments.which_data import steps as choosing
from analyses.experiments.which_data.expected_gains import measured_gains
from analyses.experiments.which_data.experiment import following
from analyses.experiments.which_data.output_rows import require_writable, write_rows
from analyses.experiments.which_data.page import _expected
from analyses.experiments.which_data.steps import _drawn_at_random
from finetune.common.errors import InputError
from finetune.common.files import read_json
from finetune.common.output_files import begins_with, require_own_output
from finetune.common.progress import Notice
from finetune.common.run_directory import RunDirectory
from finetune.data.facts import FactSet
from finetune.data.load_facts import load_with_rows
from finetune.data.prompt_formats import PromptFormat
from finetune.training.training_format import write_format
from interp.reports.pages.study_files import load_study
from interp.selection.candidates import Candidates
from interp.selection.scores import SCORES, Score

PEOPLE = [f"Ada {chr(65 + i)}" for i in range(8)]


def options(base: Path, facts: Path, out: Path, **more: object) -> which_data.WhichDataOptions:
    return which_data.WhichDataOptions(base=str(base), facts=str(facts), out=out, quiet=True, **more)  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with semicolons, a column of its own, an accent, and two rows that cannot be used."""
    lines = ["subject;relation;answer;popularity;mine"]
    lines += [f"{name};born;{('Paris', 'Zürich')[i % 2]};{i};note {i}" for i, name in enumerate(PEOPLE)]
    lines.insert(3, "Ada Z;born;;3;no answer")
    lines.append(f"{PEOPLE[0]};born;Paris;0;again")
    path = tmp_path / "my.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_best_rows_are_written_as_they_came_and_the_others_too(
    table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    out, dropped = tmp_path / "chosen.csv", tmp_path / "dropped.csv"
    home = which_data.run(options(tiny_llama_dir, table, out, share=0.25, dropped=dropped))
    given = pd.read_csv(table, sep=";").set_index("mine")
    chosen, others = (pd.read_csv(path, sep=";").set_index("mine") for path in (out, dropped))
    assert list(chosen.columns) == [*given.columns, "score", "reason"]
    facts = FactSet.load(table)
    values = SCORES["statement"](Candidates(facts=facts, base=str(tiny_llama_dir)))
    best = sorted(range(8), key=lambda i: -values[i])[:2]
    assert list(chosen.index) == [f"note {i}" for i in sorted(best)], "in the order of the file"
    assert chosen["score"].to_numpy() == pytest.approx(values[sorted(best)], rel=1e-4)
    assert set(chosen.index) | set(others.index) == {f"note {i}" for i in range(8)}
    for frame in (chosen, others):
        pd.testing.assert_frame_equal(frame[given.columns], given.loc[frame.index])
    assert chosen.loc[f"note {best[0]}", "reason"] == "kept for its score: rank 1 of 8 by statement"
    assert others["reason"].str.startswith("dropped: rank ").all()
    left_out = read_json(home / "manifest.json")["left_out"]
    assert {item["where"] for item in left_out} == {"my.csv:4", "my.csv:11"}
    assert len(FactSet.load(out)) == 2, "what was written can be loaded again"
    page = (home / "report.html").read_text(encoding="utf-8")
    assert "Zürich" in page
    assert "popularity" in page
    assert "2 could not be used" in " ".join(load_study(home).answer)


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "tsv"])
def test_values_and_schema_survive(kind: str, tiny_llama_dir: Path, tmp_path: Path) -> None:
    rows = [
        {
            "question": f"Where was {name} born?",
            "subject": name,
            "answers": ["Rome", "Roma"],
            "year": 1900 + i,
        }
        for i, name in enumerate(PEOPLE)
    ]
    path, out = tmp_path / f"my.{kind}", tmp_path / f"chosen.{kind}"
    if kind == "parquet":
        texts = [(name, pa.string()) for name in ("question", "subject")]
        schema = pa.schema([*texts, ("answers", pa.list_(pa.string())), ("year", pa.int16())])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    elif kind == "tsv":
        frame = pd.DataFrame(rows).assign(answers="Rome|Roma")
        frame.to_csv(path, sep="\t", index=False)
    else:
        lines = [json.dumps(row) for row in rows]
        text = "[" + ",\n".join(lines) + "]" if kind == "json" else "\n".join(lines)
        path.write_text(text, encoding="utf-8")
    which_data.run(options(tiny_llama_dir, path, out, score="question"))
    if kind == "parquet":
        made = pq.read_table(out)
        assert made.schema.field("year").type == pa.int16()
        made = made.to_pylist()
    elif kind == "tsv":
        made = pd.read_csv(out, sep="\t").to_dict("records")
        rows = [{**row, "answers": "Rome|Roma"} for row in rows]
    else:
        text = out.read_text(encoding="utf-8")
        assert text.startswith("[") == (kind == "json")
        made = json.loads(text) if kind == "json" else [json.loads(line) for line in text.splitlines()]
    assert len(made) == 4
    for row in made:
        assert {k: row[k] for k in rows[0]} in rows
        assert row["score"] < 0
        assert "by question" in row["reason"]


@pytest.mark.parametrize(
    ("mine", "extension", "said"),
    [
        (["unknown", 1901], "parquet", "'mine' (my.jsonl:2 does not go with it"),
        ([{}], "parquet", "'mine' (my.jsonl:1 does not go with it"),
        ([2**70], "parquet", "'mine' (my.jsonl:1 does not go with it"),
        (["a", ["a"]], "parquet", "'mine' (my.jsonl:2 does not go with it"),
        (["a", "\ud800"], "parquet", "'mine' (my.jsonl:2 does not go with it"),
        (["a", "\ud800"], "csv", "'mine' (my.jsonl:2 holds half of a character"),
    ],
)
def test_what_a_format_cannot_hold_is_said_before_anything_is_scored(
    mine: list, extension: str, said: str, tmp_path: Path
) -> None:
    rows = [
        {"question": f"Where is {name}?", "answer": name, "mine": mine[i % len(mine)]}
        for i, name in enumerate(PEOPLE)
    ]
    path = tmp_path / "my.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    traced = load_with_rows(path)
    out = tmp_path / f"chosen.{extension}"
    with pytest.raises(InputError) as refused:
        require_writable(traced, str(path), out)
    assert said in str(refused.value)
    assert "write .jsonl" in str(refused.value)
    out = out.with_suffix(".jsonl")
    require_writable(traced, str(path), out)
    write_rows(traced, str(path), out, [0, 1], {})
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows[:2]


@pytest.mark.parametrize("subject", [False, True])
def test_a_fact_with_answers_of_several_rows_is_written_as_all_of_them(tmp_path: Path, subject: bool) -> None:
    path, out = tmp_path / "my.csv", tmp_path / "chosen.csv"
    # Of one relation and subject in two questions, whose ids are made anew; and of two answers in three rows.
    lines = ["question,answer", "What is A?,x", "What is B?,z", "What is A?,y", "What is A?,X", "Who is A?,v"]
    if subject:
        lines = [lines[0] + ",subject", *(f"{line},{line[8]}" for line in lines[1:-1]), "Who is A?,v,A"]
    path.write_text("\n".join(lines) + "\n")
    traced = load_with_rows(path)
    assert [fact.answers for fact in traced.facts] == [("x", "y"), ("z",), ("v",)]
    require_writable(traced, str(path), out)
    write_rows(traced, str(path), out, [2, 0], {"score": [0.1, 0.2, 0.3]})
    assert out.read_text().splitlines() == [
        f"{lines[0]},score", f"{lines[5]},0.3", f"{lines[1]},0.1", f"{lines[3]},0.1"
    ]  # fmt: skip


def test_rows_of_one_fact_in_two_files_go_back_to_both(tmp_path: Path) -> None:
    given, out = tmp_path / "facts", tmp_path / "chosen"
    given.mkdir()
    for name, rows in {"a": ["1,A,x", "2,B,z"], "b": ["1,C,w", "7,A,y"]}.items():
        (given / f"{name}.csv").write_text("\n".join(["id,subject,answer", *rows]) + "\n")
    traced = load_with_rows(given)
    by_subject = {fact.subject: i for i, fact in enumerate(traced.facts)}
    write_rows(traced, str(given), out, [by_subject["C"], by_subject["A"]], {})
    told = {path.stem: path.read_text().splitlines()[1:] for path in sorted(out.iterdir())}
    assert told == {"a": ["1,A,x"], "b": ["1,C,w", "7,A,y"]}


def test_types_are_those_of_all_candidates_whatever_is_chosen(tmp_path: Path) -> None:
    path, out = tmp_path / "my.jsonl", tmp_path / "chosen.parquet"
    rows = [{"question": f"Where is {i}?", "answer": "a", "mine": {"n": 1} if i else {}} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, rows)))
    traced = load_with_rows(path)
    require_writable(traced, str(path), out)
    write_rows(traced, str(path), out, [0], {})
    assert pq.read_table(out).to_pylist()[0]["mine"] == {"n": None}


def test_the_next_command_trains_on_what_the_last_one_wrote(
    table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    for name in ("chosen.csv", "chosen.jsonl", "chosen.csv"):
        home = which_data.run(options(tiny_llama_dir, table, tmp_path / name, share=0.75))
        assert f"--facts {tmp_path / name} " in following(home)[1]


def test_the_next_command_draws_the_same_facts_and_undrawn_ones_are_no_unusable_ones(
    table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    home = which_data.run(options(tiny_llama_dir, table, tmp_path / "a.csv", limit=6, seed=3))
    (first,) = following(home)
    assert f"--facts {table} --limit 6 --seed 3 --test-share 0.5 --out" in first
    (told,) = load_study(home).answer
    assert told.endswith("; 2 could not be used and are listed.")


def test_no_command_is_printed_that_would_be_refused(
    table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    assert following(which_data.run(options(tiny_llama_dir, table, tmp_path / "a.csv", limit=2))) == ()


def test_a_score_that_says_nothing_of_any_fact_is_refused_and_leaves_nothing(
    tiny_llama_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "one.csv"
    rows = [f"Ada,r{i},Paris{i}" for i in range(6)]
    path.write_text("\n".join(["subject,relation,answer", *rows]), encoding="utf-8")
    made = options(tiny_llama_dir, path, tmp_path / "a.csv", score="few_shot")
    with pytest.raises(InputError, match="--score few_shot: says nothing of any of the 6 facts"):
        which_data.run(made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.csv"]


def test_facts_without_a_score_are_told_as_such_and_count(
    table: Path, tiny_llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(candidates: Candidates) -> np.ndarray:
        return np.array([1.0, *[np.nan] * (len(candidates.facts) - 1)])

    monkeypatch.setitem(SCORES, "question", Score(name="question", compute=score, meaning="one", forwards=0))
    out = tmp_path / "a.csv"
    home = which_data.run(options(tiny_llama_dir, table, out, score="question", share=0.75, floor=0.0))
    why = pd.read_csv(out, sep=";")["reason"].tolist()
    assert why[0] == "kept for its score: rank 1 of 8 by question"
    assert set(why[1:]) == {"kept to fill the share: question says nothing of it"}
    assert "--test-share 0.5" in following(home)[0], "of 8 facts, not of the one that has a score"


def test_other_scores_are_compared_by_draws_of_the_same_seed(
    table: Path, tiny_llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two scores that say the same of every fact choose the same ones, whatever the seed."""
    for name in ("question", "few_shot"):
        flat = Score(name=name, compute=lambda c: np.zeros(len(c.facts)), meaning="0", forwards=0)
        monkeypatch.setitem(SCORES, name, flat)
    for seed in (1, 2, 3):
        given = {"score": "question", "also": ("few_shot",), "seed": seed, "floor": 0.0}
        home = which_data.run(options(tiny_llama_dir, table, tmp_path / f"{seed}.csv", **given))
        assert read_json(home / "results.json")["scores"]["few_shot"]["shared"]["value"] == 1.0


def test_another_extension_converts(table: Path, tiny_llama_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "chosen.jsonl"
    which_data.run(options(tiny_llama_dir, table, out))
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 4
    assert set(rows[0]) == {"subject", "relation", "answer", "popularity", "mine", "score", "reason"}


def test_a_directory_stays_one_and_can_be_loaded_again(tiny_llama_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / "eq"
    given.mkdir()
    for relation, form in (("P17", "Which country is {} located in?"), ("P19", "Where was {} born?")):
        rows = [{"question": form.format(name), "answers": ["Paris", "Lutetia"]} for name in PEOPLE]
        (given / f"{relation}.train.json").write_text(json.dumps(rows), encoding="utf-8")
    out = tmp_path / "chosen"
    which_data.run(options(tiny_llama_dir, given, out, floor=1.0))
    made = FactSet.load(out)
    assert {relation: len(made.answer_set(relation)) for relation in made.relations} == {"P17": 1, "P19": 1}
    assert [sum(f.relation == r for f in made) for r in ("P17", "P19")] == [4, 4]
    with pytest.raises(InputError, match="name a directory"):
        which_data.run(options(tiny_llama_dir, given, tmp_path / "chosen.json"))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "bare.csv"
    lines = [f"Where was {name} born?,Paris" for name in PEOPLE]
    path.write_text("question,answer\n" + "\n".join(lines), encoding="utf-8")
    return path


def test_a_base_is_asked_as_it_was_trained(table: Path, tiny_llama_dir: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_llama_dir, tmp_path / "base"))
    write_format(base, trained := PromptFormat(template="Q: {question} A:", shots=2))
    assert choosing.prepare_candidates(options(base, table, tmp_path / "a.csv")).candidates.style == trained
    told = options(base, table, tmp_path / "a.csv", prompt_format="{question}")
    assert choosing.prepare_candidates(told).candidates.style == PromptFormat(template="{question}")
    proxies = PopularityProxiesOptions(facts=str(table), base=str(base), dtype="bfloat16", out=tmp_path / "b")
    found = accept(proxies, FactSet.load(table), RunDirectory.__new__(RunDirectory)).candidates
    assert (found.style, found.dtype) == (trained, "bfloat16")


def test_a_bare_list_of_questions_is_enough(bare: Path, tiny_llama_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "chosen.csv"
    home = which_data.run(options(tiny_llama_dir, bare, out, also=("question", "consistency")))
    chosen = pd.read_csv(out)
    assert list(chosen.columns) == ["question", "answer", "score", "reason"]
    assert len(chosen) == 4
    assert (chosen["reason"] == "kept: drawn at random").all()
    assert chosen["score"].isna().all(), "a draw's number is no merit"
    notes = " ".join(load_study(home).notes)
    for name in ("statement", "readout", "harm"):
        assert f"Score {name} could not be used: needs to know what each question is about" in notes
    assert set(read_json(home / "results.json")["scores"]) == {"question", "consistency"}
    with pytest.raises(InputError, match="score statement: needs to know"):
        which_data.run(options(tiny_llama_dir, bare, tmp_path / "other.csv", score="statement"))


def test_a_draw_is_called_one_and_all_facts_are_advised(
    bare: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    dropped = tmp_path / "dropped.csv"
    made = options(tiny_llama_dir, bare, tmp_path / "chosen.csv", dropped=dropped)
    with pytest.warns(Notice, match="no column subject, so that nothing says what each question is about"):
        home = which_data.run(made)
    assert set(pd.read_csv(dropped)["reason"]) == {"dropped: not drawn"}
    study = load_study(home)
    assert study.question == f"Which of 8 facts should {tiny_llama_dir.name} be fine-tuned on?"
    assert "Train on all 8: in none of 5 settings measured here was a half clearly better" in study.finding
    (told,) = study.answer
    assert told.startswith("Should you have to train on fewer, ")
    assert "is what a half would be: 4 of 8 facts, drawn at random" in told
    assert [table.title for table in study.examples] == ["Drawn, some", "Not drawn, some"]
    assert not {"Score", "Why"} & set(study.examples[0].columns)
    expected = next(table for table in study.tables if table.title.startswith("What may be expected"))
    assert expected.columns == ("Measured in", "of the popular half", "of all facts")
    assert all(all(row) for row in expected.rows)
    page = (home / "report.html").read_text(encoding="utf-8")
    for word in (
        "rank 1",
        "Kept, the best",
        "Kept by drawn",
        "0 forward passes",
        "Median score",
        "facts.parquet",
    ):
        assert word not in page
    assert "can be recomputed from <code>scores.parquet</code> of its run" in page
    assert "but for the table “What may be expected”, whose numbers are of other runs" in page


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_a_draw_without_scores_can_be_written_in_every_format(
    kind: str, bare: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"chosen.{kind}"
    which_data.run(options(tiny_llama_dir, bare, out))
    assert len(FactSet.load(out, subjects=False)) == 4


def test_no_column_of_what_may_be_expected_is_empty() -> None:
    for way in measured_gains():
        table = _expected(way)
        for i, head in enumerate(table.columns):
            assert any(row[i] for row in table.rows), (way, head)


def test_what_is_missing_is_said_in_plain_words() -> None:
    assert "no column subject, so that nothing says what each question is about" in _drawn_at_random(False)
    assert "no column relation, so that nothing says how a fact is stated" in _drawn_at_random(True)


def test_what_a_fact_came_from_is_the_row_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text(
        "subject,relation,answer,popularity\nAda,born,Paris,1\nAda,born,Rome,5\nBob,born,Oslo,2\n",
        encoding="utf-8",
    )
    traced = load_with_rows(path)
    assert [fact.answer for fact in traced.facts] == ["Rome", "Oslo"]
    assert [row.where for _, row in traced.rows] == ["my.csv:3", "my.csv:4"]
    assert traced.subjects_known
    assert traced.facts == FactSet.load(path)


def test_questions_that_do_not_fit_are_set_aside(bare: Path, tiny_llama_dir: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.csv"
    long.write_text(bare.read_text(encoding="utf-8") + f"\n{'why ' * 90}?,Rome\n", encoding="utf-8")
    home = which_data.run(options(tiny_llama_dir, long, tmp_path / "chosen.csv", score="question", share=1.0))
    assert len(pd.read_csv(tmp_path / "chosen.csv")) == 8
    (aside,) = read_json(home / "manifest.json")["left_out"]
    assert aside["where"] == "long.csv:10"
    assert "longer than the base's context of 64 tokens" in aside["reason"]


def test_the_same_command_takes_the_scores_that_are_there(
    table: Path, tiny_llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = options(tiny_llama_dir, table, tmp_path / "chosen.csv")
    home = which_data.run(made)
    first, numbers = made.out.read_text(encoding="utf-8"), (home / "results.json").read_text()
    made.out.unlink()

    def never(candidates: object) -> None:
        raise AssertionError("scored again")

    failing: Score = replace(SCORES["statement"], compute=never)  # type: ignore[arg-type]
    monkeypatch.setitem(choosing.SCORES, "statement", failing)
    assert which_data.run(made) == home
    assert made.out.read_text(encoding="utf-8") == first
    assert (home / "results.json").read_text() == numbers
    with pytest.raises(InputError, match="holds another run"):
        which_data.run(replace(made, share=0.3))


def test_nothing_of_the_user_s_is_written_over(table: Path, tiny_llama_dir: Path, tmp_path: Path) -> None:
    before = table.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="is the input itself"):
        which_data.run(options(tiny_llama_dir, table, table))
    there = tmp_path / "chosen.csv"
    there.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is there already"):
        which_data.run(options(tiny_llama_dir, table, there))
    assert (table.read_text(encoding="utf-8"), there.read_text()) == (before, "mine")
    assert not (tmp_path / "chosen_report").exists()


def test_columns_that_would_be_hidden_are_refused(tiny_llama_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("question,answer,score\nWho?,Ada,3\n", encoding="utf-8")
    with pytest.raises(InputError, match="has a column 'score'"):
        which_data.run(options(tiny_llama_dir, path, tmp_path / "chosen.csv"))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"share": 0.0}, "--share 0"),
        ({"floor": 1.5}, "--floor 1.5"),
        ({"score": "fame"}, "--score fame: choose from statement"),
        ({"also": ("fame",)}, "--also fame"),
        ({"batch_tokens": 0}, "--batch-tokens 0"),
        ({"out": Path("chosen.xlsx")}, "unknown extension '.xlsx'; use .csv"),
        ({"base": "/no/such"}, "no such directory"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    more: dict, named: str, table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    made = replace(options(tiny_llama_dir, table, tmp_path / "chosen.csv"), **more)
    with pytest.raises(InputError, match=named):
        which_data.run(made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.csv"]


def test_only_what_this_command_wrote_for_this_out_is_replaced(
    table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    made = options(tiny_llama_dir, table, tmp_path / "chosen.csv", dropped=tmp_path / "dropped.csv")
    which_data.run(made)
    which_data.run(made)
    first = made.out.read_bytes()
    foreign = tmp_path / "other.csv"
    foreign.write_text("mine", encoding="utf-8")
    # The report is there, and knows of one --out; no other file is this command's for that.
    with pytest.raises(InputError, match=r"other\.csv: is there already"):
        which_data.run(replace(made, out=foreign, report=made.home))
    made.out.write_bytes(first + b"edited by hand\n")
    with pytest.raises(InputError, match="not as this command wrote it"):
        which_data.run(made)
    assert foreign.read_text(encoding="utf-8") == "mine"
    assert made.out.read_bytes() == first + b"edited by hand\n"
    made.out.unlink()
    which_data.run(made)
    assert made.out.read_bytes() == first


@pytest.mark.parametrize(
    ("out", "dropped", "named"),
    [
        ("chosen.csv", "chosen.csv", "--dropped"),
        ("chosen.csv", "./x/../chosen.csv", "--dropped"),
        ("chosen.csv", "CHOSEN.csv", "--dropped"),
        ("chosen.csv", "link/chosen.csv", "--dropped"),
        ("link/my.csv", None, "--out"),
        ("my2.csv", None, "--out"),
        ("chosen.csv", "my.csv", "--dropped"),
        ("chosen.csv", "chosen_report/results.csv", "--report"),
        ("dangling.csv", None, "--out"),
    ],
)
def test_outputs_are_apart_from_each_other_and_from_the_inputs(
    out: str, dropped: str | None, named: str, table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "my2.csv").symlink_to(table)
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere.csv")
    before, names = table.read_bytes(), sorted(p.name for p in tmp_path.iterdir())
    more = {} if dropped is None else {"dropped": tmp_path / dropped}
    with pytest.raises(InputError, match=named):
        which_data.run(options(tiny_llama_dir, table, tmp_path / out, **more))
    assert table.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_damaged_scores_are_scored_again(
    damage: str, table: Path, tiny_llama_dir: Path, tmp_path: Path
) -> None:
    made = options(tiny_llama_dir, table, tmp_path / "chosen.csv")
    home = which_data.run(made)
    chosen, numbers = made.out.read_bytes(), (home / "results.json").read_bytes()
    scores = home / "scores.parquet"
    data = bytearray(scores.read_bytes())
    data[len(data) // 3] ^= 1
    scores.write_bytes(data[:100] if damage == "truncated" else data)
    with pytest.warns(Notice, match="made again"):
        which_data.run(made)
    assert (made.out.read_bytes(), (home / "results.json").read_bytes()) == (chosen, numbers)


def test_pages_and_tables_replace_only_their_like(tmp_path: Path) -> None:
    mine = tmp_path / "notes.md"
    mine.write_text("# My notes\n", encoding="utf-8")
    with pytest.raises(InputError, match="is there already"):
        require_own_output("--out", mine, begins_with("# Findings"))
    with pytest.raises(InputError, match="is there already"):
        require_own_output("--out", tmp_path, begins_with("# Findings"))
    mine.write_text("# Findings\n\nold", encoding="utf-8")
    require_own_output("--out", mine, begins_with("# Findings"))
    mine.write_bytes(b"")
    require_own_output("--out", mine, begins_with("# Findings"))


def test_columns_by_other_names_and_facts_without_a_relation(tiny_llama_dir: Path, tmp_path: Path) -> None:
    rows = [f"Where was {name} born?,{name},{('Paris', 'Rome')[i % 2]}" for i, name in enumerate(PEOPLE)]
    path, out = tmp_path / "my.csv", tmp_path / "chosen.csv"
    path.write_text("\n".join(["Question,Name,Label", *rows]) + "\n")
    columns = ("subject=Name", "answer=Label")
    which_data.run(options(tiny_llama_dir, path, out, columns=columns))
    chosen = pd.read_csv(out)
    assert list(chosen.columns) == ["Question", "Name", "Label", "score", "reason"]
    assert len(chosen) == 4
    with pytest.raises(InputError, match="no column 'answer'"):
        which_data.run(options(tiny_llama_dir, path, tmp_path / "other.csv"))
