"""Tables of many layouts: columns by other names, lists inside objects, LRE's relations, hostile headers."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune import Fact, FactSet, InputError, Prompt
from finetune.common.messages import join_names, printable, quote
from finetune.data.load_facts import load_with_rows, split_json_pointer
from finetune.data.loaders.columns import mapping
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import PromptFormat, ask_in_format
from finetune.data.prompts import question_prompt, render
from finetune.data.splits import partition
from tests.finetune.test_cells import CAPITALS, answers, jsonl, refused, write

SHARED = Path(__file__).parents[3] / "shared/data"
LRE = {
    "name": "landmark in country",
    "prompt_templates": ["{} is in the country of"],
    "prompt_templates_zs": ["What country is {} in? It is in", "{} is in the country of"],
    "properties": {"relation_type": "factual"},
    "samples": [{"subject": "Bastille", "object": "France"}, {"subject": "Ozumba", "object": "Mexico"}],
}
ROWS = [{"subject": s, "relation": "capital", "answer": a} for s, a in CAPITALS.items()]


def table_text(*columns: str, rows: list[tuple[Any, ...]]) -> str:
    return "\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n"


def test_answers_counted_from_one_are_refused(tmp_path: Path) -> None:
    header = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
    options = ("Rome", "Paris", "Berlin", "Oslo")
    rows = [("Capital of Norway?", *options, 4), ("Capital of Italy?", *options, 1)]
    said = refused(write(tmp_path / "c.csv", table_text(*header, rows=rows)))
    assert "counts the choices from 1" in said
    assert "subtract 1" in said
    hub = [{"question": q, "subject": "geo", "choices": list(o), "answer": a} for q, *o, a in rows]
    assert "counts the choices from 1" in refused(jsonl(tmp_path / "c.jsonl", hub))
    from_zero = [*rows, ("Capital of France?", *options, 0)]  # here a 4 is one wrong row
    facts = FactSet.load(write(tmp_path / "c.csv", table_text(*header, rows=from_zero)))
    assert answers(facts) == [("Paris",), ("Rome",)]
    letters = [(*row[:-1], "ABCD"[row[-1] - 1]) for row in rows]
    facts = FactSet.load(write(tmp_path / "c.csv", table_text(*header, rows=letters)))
    assert answers(facts) == [("Oslo",), ("Rome",)]


def test_popqa_dumps_without_id_and_views_and_with_lists_of_python(tmp_path: Path) -> None:
    header = "id\tsubj\tprop\tobj\ts_pop\to_pop\tquestion\tpossible_answers\n"
    row = "0\tNorway\tcapital\tOslo\t1000\t10\tWhat is the capital of Norway?\t['Oslo', \"O'slo\"]\n"
    fact = FactSet.load(write(tmp_path / "p.tsv", header + row))[0]
    assert (fact.id, fact.answers, fact.popularity) == ("0", ("Oslo", "O'slo"), 1000.0)
    dump = "subj\tprop\tobj\tquestion\nNorway\tcapital\tOslo\tWhat is the capital of Norway?\n"
    fact = FactSet.load(write(tmp_path / "p.tsv", dump))[0]
    assert (fact.id, fact.answers, fact.popularity) == ("capital/Norway", ("Oslo",), None)


def test_column_names_ignore_case_and_space_and_can_be_mapped(tmp_path: Path) -> None:
    rows = [(s, "capital", a) for s, a in CAPITALS.items()]
    usual = FactSet.load(write(tmp_path / "a.csv", table_text("subject", "relation", "answer", rows=rows)))
    loud = write(tmp_path / "b.csv", "\ufeff" + table_text(" Subject", "RELATION ", "Answer", rows=rows))
    assert FactSet.load(loud).digest == usual.digest
    other = write(tmp_path / "c.csv", table_text("Name", "relation", "Label", rows=rows))
    assert "--columns subject=NAME" in refused(other)
    columns = {"subject": "name", "answer": "Label"}
    assert FactSet.load(other, columns=columns).digest == usual.digest
    assert load_with_rows(other, columns=columns).facts.digest == usual.digest
    records = [dict(zip(("Name", "relation", "Label"), row, strict=True)) for row in rows]
    assert FactSet.load(jsonl(tmp_path / "c.jsonl", records), columns=columns).digest == usual.digest
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "c.parquet")
    assert FactSet.load(tmp_path / "c.parquet", columns=columns).digest == usual.digest
    # The mapped column counts, not the one that has the name by itself.
    both = write(
        tmp_path / "d.csv", table_text("subject", "Name", "answer", rows=[("geo", "Oslo", "Norway")])
    )
    assert FactSet.load(both, columns={"subject": "Name"})[0].subject == "Oslo"


def test_mappings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "Name,answer\nOslo,Norway\n")
    assert "no column 'Nmae'" in refused(file, columns={"subject": "Nmae"})
    assert "unknown name" in refused(file, columns={"topic": "Name"})
    twice = write(tmp_path / "u.csv", "Answer,ANSWER,subject\na,b,c\n")
    assert "are one name; rename one" in refused(twice)
    for given, said in {"subject": "NAME=COLUMN", "subject=": "NAME=COLUMN", "a=b": "unknown name"}.items():
        with pytest.raises(InputError, match=said):
            mapping([given])
    with pytest.raises(InputError, match="given twice"):
        mapping(["subject=a", "subject=b"])


def test_a_line_that_names_the_delimiter_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sep=;\r\nQuestion;Answer\r\nWho, you?;Me\r\nWhere?;\r\nWhen?;Now\r\n")
    facts = FactSet.load(path, subjects=False)
    assert [(fact.question, fact.answer) for fact in facts] == [("Who, you?", "Me"), ("When?", "Now")]
    assert [left.where for left in facts.left_out] == ["t.csv:4"]


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        ("question,answer", ["Who?,Ada", "Who?,Bo"], "the same question ("),
        ("relation,question,answer", ["r,Who?,Ada", "r,Who?,Bo"], "the same question and relation ("),
        ("subject,answer", ["Ada,a", "Ada,b"], "the same subject ("),
        ("subject,relation,answer", ["Ada,r,a", "Ada,r,b"], "the same subject and relation ("),
    ],
)
def test_what_two_facts_share_is_called_by_their_columns(
    columns: str, rows: list[str], said: str, tmp_path: Path
) -> None:
    rows = [f"{row},{views}" for views, row in enumerate(rows, 1)]
    (tmp_path / "t.csv").write_text("\n".join([f"{columns},popularity", *rows]))
    assert said in FactSet.load(tmp_path / "t.csv", subjects=False).left_out[0].reason


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FactSet.load(pd.DataFrame()), "source = a DataFrame: give a path or a name"),  # type: ignore[arg-type]
        (lambda: FactSet.load([]), "source = a list"),  # type: ignore[arg-type]
        (lambda: FactSet.load(None), "source = a NoneType"),  # type: ignore[arg-type]
        (lambda: FactSet.load("t.csv", limit="5"), "limit = '5': give a whole number"),  # type: ignore[arg-type]
        (lambda: FactSet.load("t.csv", limit=5.0), "limit = 5.0: give a whole number"),  # type: ignore[arg-type]
        (lambda: FactSet.load("t.csv", seed=-1), "seed = -1: choose a number of at least 0"),
        (lambda: partition(FactSet(facts=(), name=""), test=math.nan), "test = nan"),
        (lambda: Prompt(text="X?", subject="X", answers=("a",)), "subject = 'X': give two"),  # type: ignore[arg-type]
        (
            lambda: Fact(id="1", subject="s", relation="r", answers=("a",), popularity=math.nan),
            "popularity = nan: give a number of at least 0",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_the_door(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert said in str(refused.value)


def test_questions_without_subjects_are_taken_where_none_is_needed(tmp_path: Path) -> None:
    rows = [(f"What is the capital of {s}?", a, "geo") for s, a in CAPITALS.items()]
    file = write(tmp_path / "q.csv", table_text("Question", "Answer", "Service", rows=rows))
    facts = FactSet.load(file, subjects=False)
    assert len(facts) == 6
    assert facts[0].subject == facts[0].question == "What is the capital of Norway?"
    assert load_with_rows(file).facts.facts == facts.facts
    said = refused(file)
    assert "no column 'subject'" in said
    assert "--columns subject=NAME" in said
    several = jsonl(tmp_path / "r.jsonl", [{"question": q, "answers": [a]} for q, a, _ in rows])
    assert refused(several).startswith("r.jsonl: no column 'subject'; add it, or say what the file calls it")
    assert "(found: Question, Answer, Service)" in said


def test_facts_without_a_relation_are_asked_by_their_questions_only(tmp_path: Path) -> None:
    question = "Which city is the seat of government of {}?"
    rows = [(s, question.format(s), a) for s, a in CAPITALS.items()]
    file = write(tmp_path / "n.csv", table_text("subject", "question", "answer", rows=rows))
    mixed = [("Emma", "Who wrote Emma?", "Austen"), ("Oslo", "Where is Oslo?", "Norway")]
    other = write(tmp_path / "m.csv", table_text("subject", "question", "answer", rows=[*rows[:2], *mixed]))
    for facts in (FactSet.load(file), FactSet.load(other)):
        book = phrasebook(facts)
        for form in (*book["fact"].statements, *book["fact"].questions, book["fact"].asked):
            for fact in facts:
                prompt = render(form, fact)
                assert str(fact.question) in prompt.text
                assert prompt.text[slice(*prompt.subject)] == fact.subject
        for prompt, fact in zip(ask_in_format(facts, book, PromptFormat()), facts, strict=True):
            assert prompt.text == f"Question: {fact.question} Answer:"
    bare = FactSet.load(write(tmp_path / "o.csv", "subject,answer\nOslo,Norway\n"))
    with pytest.raises(InputError, match="no question; give a question that does, or a relation"):
        ask_in_format(bare, phrasebook(bare))


def test_a_top_level_object_names_its_lists_and_takes_a_pointer(tmp_path: Path) -> None:
    held = {"version": "1", "data": {"dev": ROWS, "no.te": [1, 2]}, "more": [{"a": 1}]}
    file = write(tmp_path / "t.json", json.dumps(held, indent=1))
    said = refused(file)
    assert "data.dev (6 rows)" in said
    assert "more (1 rows)" in said
    facts = FactSet.load(f"{file}#data.dev")
    assert [fact.subject for fact in facts] == list(CAPITALS)
    assert load_with_rows(f"{file}#data.dev").rows[0][1].where == "t.json:5"
    assert "holds nothing at 'data.test'; it holds lists at" in refused(Path(f"{file}#data.test"))
    assert "holds no list at 'data'" in refused(Path(f"{file}#data"))
    deep = write(tmp_path / "d.json", json.dumps({"a": [{"b.c": ROWS}]}))
    assert len(FactSet.load(f"{deep}#a.0.b.c")) == 6
    assert "holds no list of objects" in refused(write(tmp_path / "e.json", '{"subject": {"0": "Norway"}}'))
    assert FactSet.load(write(tmp_path / "f.json", json.dumps(ROWS[0], indent=1)))[0].answer == "Oslo"
    one_after_another = "\n".join(json.dumps(row, indent=1) for row in ROWS)
    assert len(FactSet.load(write(tmp_path / "g.json", one_after_another))) == 6


def test_relations_of_lre_load_with_their_own_templates(tmp_path: Path) -> None:
    file = write(tmp_path / "landmark.json", json.dumps(LRE, indent=4))
    facts = FactSet.load(file)
    assert [(f.subject, f.relation, f.answer) for f in facts] == [
        ("Bastille", "landmark in country", "France"),
        ("Ozumba", "landmark in country", "Mexico"),
    ]
    book = phrasebook(facts[:1])["landmark in country"]
    assert book.statements == ("{subject} is in the country of",)
    assert book.asked == "Question: What country is {subject} in? Answer:"
    assert ask_in_format(facts, phrasebook(facts))[0].text == "Question: What country is Bastille in? Answer:"
    write(tmp_path / "star.json", json.dumps({**LRE, "name": "star", "prompt_templates_zs": []}))
    both = FactSet.load(tmp_path)
    assert both.relations == ("landmark in country", "star")
    assert phrasebook(both)["star"].asked == "Question: {subject} is in the country of what? Answer:"
    broken = write(tmp_path / "broken.json", json.dumps({**LRE, "prompt_templates": ["no place"]}))
    assert "write {} once" in refused(broken)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_real_relations_of_lre() -> None:
    facts = FactSet.load(SHARED / "lre")
    assert len(facts) + len(facts.left_out) == 1720
    for relation, phrases in phrasebook(facts).items():
        fact = next(fact for fact in facts if fact.relation == relation)
        assert all(fact.subject in render(form, fact).text for form in (*phrases.statements, phrases.asked))


def test_what_follows_a_list_or_a_row_is_reported(tmp_path: Path) -> None:
    more = '\n{"subject": "Iran", "relation": "capital", "answer": "Tehran"}\n'
    facts = FactSet.load(write(tmp_path / "a.json", json.dumps(ROWS) + more))
    assert len(facts) == 6
    assert [left.where for left in facts.left_out] == ["a.json:2"]
    assert "follows the list's end" in facts.left_out[0].reason
    facts = FactSet.load(write(tmp_path / "b.json", json.dumps(ROWS) + json.dumps(ROWS)))
    assert [left.where for left in facts.left_out] == ["b.json:1"]
    lines = [json.dumps(row) for row in ROWS]
    lines[2] += " and more"
    lines[3] = '{"subject": "x", "answer": "y", "answer": "z"}'
    facts = FactSet.load(write(tmp_path / "c.jsonl", "\n".join(lines)))
    assert {left.where: left.reason for left in facts.left_out} == {
        "c.jsonl:3": "is not JSON (Extra data)",
        "c.jsonl:4": "names 'answer' twice; keep one",
    }


def test_hostile_headers_and_wide_tables_give_one_clean_line(tmp_path: Path) -> None:
    newline = write(tmp_path / "n.csv", '"sub\nject",relation,answer\nPeru,capital,Lima\n')
    assert ": sub ject, relation, answer" in refused(newline)
    escape = write(tmp_path / "e.csv", "\x1b[31msubject\x1b[0m,relation,answer\nPeru,capital,Lima\n")
    assert "without characters that cannot be seen: subject, relation, answer" in refused(escape)
    names = [f"column {i}\x1b[31m" for i in range(10_000)]
    wide = write(tmp_path / "w.csv", ",".join(names) + "\n" + ",".join("x" * 10_000) + "\n")
    assert "and 9,992 more" in refused(wide)
    named = write(tmp_path / "v.csv", ",".join(["subject", "answer", *names]) + "\n" + "x," * 10_001 + "x\n")
    assert len(FactSet.load(named)) == 1
    doubled = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["subject", "subject"])
    pq.write_table(doubled, tmp_path / "d.parquet")
    assert "'subject' occurs twice" in refused(tmp_path / "d.parquet")


@pytest.mark.parametrize("nested", ["[" * 200_000, '{"a":' * 200_000, '[{"a":' * 200_000])
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_deep_nesting_and_huge_numbers_are_reported(tmp_path: Path, nested: str, name: str) -> None:
    assert "nested too deeply" in refused(write(tmp_path / name, nested)) or name == "t.jsonl"
    good = "".join(json.dumps(row) + "\n" for row in ROWS)
    facts = FactSet.load(write(tmp_path / "g.jsonl", f'{good}{{"subject": {nested}\n{good}'))
    assert facts.left_out[0].where == "g.jsonl:7"
    huge = '{"subject": "a", "answer": "b", "popularity": ' + "9" * 5000 + "}\n"
    rows = "".join(json.dumps({**row, "popularity": 1}) + "\n" for row in ROWS)
    facts = FactSet.load(write(tmp_path / "h.jsonl", rows + huge))
    assert "is not a number" in facts.left_out[0].reason


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("subject,answer\nOslo,Norway\n".encode("utf-16"), "is UTF-16 or UTF-32"),
        ("subject,answer\nOslo,Norvège\n".encode("latin-1"), "x.csv:2: is not UTF-8"),
        (b"subject,answer\nOs\0lo,Norway\n", "holds a control character"),
        (b'subject,answer\n"' + b"x" * 200_000 + b'",Norway\n', "field larger than field limit"),
        (b'subject,answer\n"open,Norway\n', "unexpected end of data"),
    ],
)
def test_encodings_and_fields_that_cannot_be_read(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "x.csv").write_bytes(raw)
    assert said in refused(tmp_path / "x.csv")


def test_a_directory_of_many_files_is_read_in_linear_time(tmp_path: Path) -> None:
    from time import process_time

    def seconds(count: int) -> float:
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(count):
            (folder / f"f{i}.csv").write_text(f"subject,relation,answer\ns{i},capital,a{i}\n")
        start = process_time()
        assert len(FactSet.load(folder)) == count
        return process_time() - start

    assert seconds(1600) < 20 * max(seconds(200), 0.02)  # 8 times as many files; 64 times if quadratic


def test_rows_are_written_as_they_came_with_mapped_columns(tmp_path: Path) -> None:
    from analyses.experiments.which_data import output_rows as rows_out

    rows = [(s, "capital", a) for s, a in CAPITALS.items()]
    given = write(tmp_path / "c.csv", table_text("Name", "relation", "Label", rows=rows))
    columns = {"subject": "Name", "answer": "Label"}
    traced = load_with_rows(given, columns=columns)
    found = {"score": [0.5] * 6, "reason": ["kept"] * 6}
    rows_out.write_rows(traced, str(given), tmp_path / "out.csv", [1, 3], found)
    with (tmp_path / "out.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["Name"] for row in written] == ["Peru", "Cuba"]
    assert FactSet.load(tmp_path / "out.csv", columns=columns).facts == (traced.facts[1], traced.facts[3])
    lre = write(tmp_path / "l.json", json.dumps(LRE, indent=1))
    traced = load_with_rows(lre)
    rows_out.write_rows(traced, str(lre), tmp_path / "out.json", [1], found)
    assert FactSet.load(tmp_path / "out.json").facts == (traced.facts[1],)
    nested = write(tmp_path / "n.json", json.dumps({"data": ROWS}))
    source = f"{nested}#data"
    traced = load_with_rows(source)
    rows_out.require_writable(traced, source, tmp_path / "chosen.json")
    rows_out.write_rows(traced, source, tmp_path / "chosen.json", [0, 2], found)
    assert FactSet.load(tmp_path / "chosen.json").facts == (traced.facts[0], traced.facts[2])


def test_question_prompts_are_what_they_were(tmp_path: Path) -> None:
    rows = [
        ("Beyoncé", "Where is Beyoncé from?", "USA"),
        ("nhà", "Was ist NHÀ?", "x"),
        ("ada", "Is ADA x?", "y"),
    ]
    file = write(tmp_path / "t.csv", table_text("subject", "question", "answer", rows=rows))
    for fact, named in zip(FactSet.load(file), ("Beyoncé", "NHÀ", "ADA"), strict=True):
        prompt = question_prompt(fact)
        assert prompt.text[slice(*prompt.subject)] == named


def test_what_is_echoed_is_printable_and_short() -> None:
    assert printable("sub\nject \x1b[31mred\x1b[0m \x9b2J") == "sub ject red 2J"
    assert printable("a" * 30 + "b" * 30, 21) == "aaaaaaaaaaaaa ... bbb"
    assert len(printable("x" * 10**6)) == 500
    assert quote("Oslo\x1b[2J") == "'Oslo'"
    assert quote({"a": 1}) == "dict"
    assert join_names(range(10), 2) == "0, 1 and 8 more"
    error = InputError("a\nb\x1b]0;title\x07c")
    assert str(error) == "a bc"


def test_pointers_are_told_from_files(tmp_path: Path) -> None:
    assert split_json_pointer("squad.json#data.dev") == (Path("squad.json"), "data.dev")
    assert split_json_pointer("owner/name#x") == (Path("owner/name#x"), "")
    named = write(tmp_path / "a.json#b", "")
    assert split_json_pointer(named) == (named, "")
