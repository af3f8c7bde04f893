"""Rows that repeat a prompt, an answer or an id, and numbers that are written with separators."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analyses.common.tuned_runs import TunedRun
from finetune import Fact, FactSet, InputError
from finetune.data.fact_keys import is_asked, question_digests
from finetune.data.phrasebooks import phrasebook
from finetune.data.splits import quartiles, split
from finetune.training.fact_parts import PartShares, deal_parts, write_parts
from tests.finetune.test_cells import answers, jsonl, refused, write

HEADER = "subject,relation,answer,popularity\n"


def load(path: Path, text: str) -> FactSet:
    return FactSet.load(write(path, text))


def test_the_larger_popularity_of_repeated_rows_is_kept(tmp_path: Path) -> None:
    rows = [
        "Ada,born,London,5",
        "Ada,born,Paris,10",
        "Ada,born,London,5000",
        "Bob,born,Rome,1",
        "Bob,born,Rome,9",
    ]
    for order in (rows, rows[::-1]):
        facts = load(tmp_path / "t.csv", HEADER + "\n".join(order))
        assert {(f.subject, f.answer, f.popularity) for f in facts} == {
            ("Ada", "London", 5000.0),
            ("Bob", "Rome", 9.0),
        }


def test_equals_that_share_a_prompt_are_answers_of_one_fact(tmp_path: Path) -> None:
    rows = "subject,relation,answer\nObama,job,politician\nObama,job,lawyer\nObama,job,author\nAda,job,poet\n"
    facts = load(tmp_path / "t.csv", rows)
    assert answers(facts) == [("politician", "lawyer", "author"), ("poet",)]
    assert [left.reason for left in facts.left_out] == ["is a further answer of t.csv:2"] * 2


def test_several_questions_about_a_subject_are_facts_worded_by_them_alone(tmp_path: Path) -> None:
    asked = {"Where was Napoleon born?": "Corsica", "Where did Napoleon die?": "Saint Helena"}
    rows = [f"Napoleon,history,{question},{answer}" for question, answer in asked.items()]
    facts = load(tmp_path / "t.csv", "subject,relation,question,answer\n" + "\n".join(rows))
    assert {fact.question: fact.answer for fact in facts} == asked
    ids = {fact.question: fact.id for fact in facts}
    assert len(set(ids.values())) == 2
    back = load(tmp_path / "b.csv", "subject,relation,question,answer\n" + "\n".join(rows[::-1]))
    assert {fact.question: fact.id for fact in back} == ids
    shared = [rows[0], "Napoleon,history,Where did Napoleon die?,Corsica", rows[1]]
    for order in (shared, shared[::-1]):
        told = load(tmp_path / "s.csv", "subject,relation,question,answer\n" + "\n".join(order))
        of = {fact.question: set(fact.answers) for fact in told}
        assert sorted(of.values(), key=len) == [{"Corsica"}, {"Corsica", "Saint Helena"}]
    assert not any("history" in form for form in phrasebook(facts)["history"].forms)
    assert any("history" in form for form in phrasebook(facts[:1])["history"].forms)


def test_a_table_whose_rows_are_mostly_one_prompt_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"Ada,born,city{i},{i + 1}\n" for i in range(5))
    said = refused(write(tmp_path / "t.csv", HEADER + rows))
    assert said.startswith("t.csv: 4 of 5 rows would be set aside (t.csv:2: another fact has the same")
    one = "subject,relation,answer\n" + "".join(f"math,topic,answer {i}\n" for i in range(30))
    assert "29 of 30 rows would be set aside" in refused(write(tmp_path / "v.csv", one))
    ids = "id,subject,relation,answer\n" + "".join(f"Q1,s{i},born,a{i}\n" for i in range(5))
    assert "id 'Q1' is already used" in refused(write(tmp_path / "u.csv", ids))


def test_ids_of_several_tables_are_told_apart(tmp_path: Path) -> None:
    (folder := tmp_path / "d").mkdir()
    for name, subjects in {"a.csv": ("Ada", "Bob"), "b.csv": ("Lyon", "Bonn")}.items():
        rows = "".join(f"{i},{subject},r,x{subject}\n" for i, subject in enumerate(subjects, 1))
        write(folder / name, "id,subject,relation,answer\n" + rows)
    facts = FactSet.load(folder)
    assert [(f.id, f.subject) for f in facts] == [
        *(("1", "Ada"), ("2", "Bob")),
        *(("b.csv/1", "Lyon"), ("b.csv/2", "Bonn")),
    ]


@pytest.mark.parametrize(
    ("numbers", "first"),
    [
        (["999", "1.234", "12.345"], 3),  # a point before three digits, and nothing above 999 without
        (["999", "5", "1.234.567"], 4),
        (["1", '"1,234"', "7"], 3),
        (["1", "1 234", "7"], 3),
        (["1", "1'234.5", "7"], 3),
        (["12.345", "1.234", "999", "N/A"], 2),
        (["999", "1.234", "12.34"], None),  # decimals
        (["1.234", "12.345"], None),
        (["0.123", "12"], None),
        (["1234", "1.234"], None),
        (["1e5", "12"], None),
    ],
)
def test_separators_of_thousands_are_refused(tmp_path: Path, numbers: list[str], first: int | None) -> None:
    rows = "".join(f"s{i},r,a{i},{number}\n" for i, number in enumerate(numbers))
    path = write(tmp_path / "t.csv", HEADER + rows)
    if first is None:
        assert [fact.popularity for fact in FactSet.load(path)] == [float(number) for number in numbers]
    else:
        assert refused(path).startswith(f"t.csv:{first}: popularity ")


def test_a_mapped_column_takes_the_place_of_a_data_sets_own(tmp_path: Path) -> None:
    row = {
        "subj": "Ada",
        "prop": "born",
        "obj": "London",
        "label": "Rome",
        "s_pop": 100,
        "o_pop": 9,
        "tag": "t",
    }
    path = jsonl(tmp_path / "popqa.jsonl", [row])
    usual, own = FactSet.load(path)[0], {"popularity": "o_pop", "answer": "label", "relation": "tag"}
    assert (usual.popularity, usual.answers, usual.relation) == (100.0, ("London",), "born")
    mapped = FactSet.load(path, columns=own)[0]
    assert (mapped.popularity, mapped.answers, mapped.relation) == (9.0, ("Rome",), "t")
    asked = {
        "question": "Which country is Lyon located in?",
        "answers": ["France"],
        "popularity": 5,
        "id": "x",
    }
    fact = FactSet.load(write(tmp_path / "P17.dev.json", json.dumps([asked])))[0]
    assert (fact.subject, fact.popularity, fact.id) == ("Lyon", 5.0, "x")
    with pytest.raises(InputError, match="no columns to map"):
        FactSet.load("geonames:capital", columns={"subject": "name"})
    two = {"subject": "q", "question": "q"}
    assert "is given as subject and as question" in refused(
        jsonl(tmp_path / "q.jsonl", [{"q": "Who?", "answer": "Me"}]), columns=two
    )


def test_what_was_trained_on_is_known_again_without_its_question(tmp_path: Path) -> None:
    worded = tuple(
        Fact(id=f"{i}", subject=f"C{i}", relation="r", answers=("a",), question=f"Where is C{i}?")
        for i in range(12)
    )
    bare = tuple(Fact(id=f"x{f.id}", subject=f.subject, relation="r", answers=("a",)) for f in worded)
    other = Fact(id="o", subject="C1", relation="r", answers=("b",), question="Who built C1?")
    loose = Fact(id="l", subject="Where is C1 ?", relation="fact", answers=("a",), question="Where is  C1 ?")
    for left, asked, same in [
        (worded[1], bare[1], True),
        (bare[1], worded[1], True),
        (worded[1], loose, True),
        (worded[1], other, False),
        (bare[1], other, True),
        (worded[1], bare[2], False),
        (worded[1], worded[2], False),
    ]:
        assert is_asked(asked, set(question_digests(left))) == same
    facts, again = FactSet(facts=worded, name="worded"), FactSet(facts=bare, name="bare")
    shares = PartShares(test=0.0, validation=0.25, seed=0)
    with pytest.raises(InputError, match="all 12 of its facts are among --facts"):
        deal_parts(facts, "worded", shares, validation=again)
    parts = deal_parts(facts, "worded", shares)
    write_parts(tmp_path, parts)
    manifest = {"analysis": "finetune", "config": {"facts": "worded"}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    run = TunedRun.load(tmp_path)
    assert run is not None
    assert run.saw(again, "bare") == run.saw(facts, "else") == set(range(12))


def test_quartiles_cut_no_subject_s_facts_by_relation_and_agree_with_the_halves() -> None:
    facts = FactSet(
        facts=tuple(
            Fact(id=f"{relation}/s{i}", subject=f"s{i}", relation=relation, answers=("a",), popularity=1.0)
            for relation in ("author", "birthplace", "capital", "genre")
            for i in range(40)
        ),
        name="ties",
    )
    found = dict(zip((fact.id for fact in facts), quartiles(facts).tolist(), strict=True))
    assert {found[f"author/s{i}"] for i in range(40)} == {1, 2, 3, 4}
    assert all(len({found[f"{r}/s{i}"] for r in facts.relations}) == 1 for i in range(40))
    assert {fact.id for fact in split(facts, "top")} == {id for id, place in found.items() if place < 3}
