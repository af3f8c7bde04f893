"""A cell is text, a number, a list of texts, or malformed: nothing becomes its Python or JSON source text."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyses.experiments.which_data.encodable import as_text
from finetune import FactSet, InputError
from finetune.data.loaders.cells import answers_of_cell as require_answers
from finetune.data.loaders.cells import answers_of_single_column, text, texts_of_cell
from finetune.data.loaders.popularity import number_of_cell
from finetune.data.loaders.scalars import Malformed

CAPITALS = {
    "Norway": "Oslo",
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Cuba": "Havana",
    "Nepal": "Kathmandu",
    "Chile": "Santiago",
}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def answers(facts: FactSet) -> list[tuple[str, ...]]:
    return [fact.answers for fact in facts]


def refused(source: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refusal:
        FactSet.load(source, **options)
    message = str(refusal.value)
    assert message.isprintable()
    assert len(message) <= 500
    return message


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1914.0, "1914"),
        (3.5, "3.5"),
        (-0.0, "0"),
        (1e-7, "0.0000001"),
        (10**30, "1" + "0" * 30),
        (np.float64(1914.0), "1914"),
        (np.int32(7), "7"),
        (Decimal("1914.00"), "1914"),
        (Decimal("1E+3"), "1000"),
        (datetime.date(1914, 7, 28), "1914-07-28"),
        (pd.Timestamp("1914-07-28"), "1914-07-28"),
        (datetime.datetime(1914, 7, 28, 11, 10), "1914-07-28 11:10:00"),
        (b"Oslo", "Oslo"),
        (" Os\tlo\u00a0", "Os lo"),
        ("1914.0", "1914"),
        ("3.10", "3.10"),
        ("14.0", "14.0"),
        ("{subject}", "{subject}"),
        ("[sic]", "[sic]"),
    ],
)
def test_scalars_are_written_as_people_do(value: Any, read: str) -> None:
    assert text(value, "subject") == answers_of_single_column(value, "answer")[0] == read


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        float("inf"),
        1e300,
        Decimal("NaN"),
        Decimal("1E+999"),
        pytest.param(10**5000, id="digits"),
        pd.NA,
        pd.NaT,
        True,
        np.bool_(False),
        {"a": 1},
        [["a"]],
        [{"value": "a"}],
        b"\xff\xfe",
        1j,
        datetime.timedelta(1),
        object(),
        "",
        " \t",
        "\u200b\u2060\ufeff",
        "\u3164",
        "\u0301",
        "\x07",
        "Os\x1b[31mlo",
        "\ud800",
        "nan",
        "NaN",
        "None",
        "null",
        "<NA>",
        '{"text": 1, "other": 2}',
        "{'value': 'a'}",
        "['a', ['b']]",
        "['a",
        "['a', f()]",
        "{'a', 'b'}",
    ],
)
def test_what_is_no_text_is_malformed_in_one_short_line(value: Any) -> None:
    with pytest.raises(Malformed) as problem:
        require_answers(texts_of_cell(value, "answers"))
    assert str(problem.value).isprintable()
    assert len(str(problem.value)) <= 160
    with pytest.raises(Malformed):
        require_answers(answers_of_single_column(value, "answers"))


@pytest.mark.parametrize(
    "value",
    [
        ["a", 'b "c" d'],
        ("a", 'b "c" d'),
        np.array(["a", 'b "c" d'], dtype=object),
        json.dumps(["a", 'b "c" d']),
        json.dumps(json.dumps(["a", 'b "c" d'])),
        str(["a", 'b "c" d']),
        str(("a", 'b "c" d')),
        str(np.array(["a", 'b "c" d'], dtype=object)),  # numpy writes no commas
        repr(np.array(["a", 'b "c" d'], dtype=object)),
        {"text": ["a", 'b "c" d'], "answer_start": [0, 4]},
        str({"text": ["a", 'b "c" d'], "answer_start": [0, 4]}),
        [{"text": "a", "answer_start": 0}, {"text": 'b "c" d', "answer_start": 4}],
        ["a", None, "a", float("nan"), 'b "c" d'],
    ],
)
def test_lists_in_whatever_writing_are_several_answers(value: Any) -> None:
    assert texts_of_cell(value, "answers") == answers_of_single_column(value, "answer") == ("a", 'b "c" d')


def test_a_text_for_one_answer_is_not_taken_apart() -> None:
    assert answers_of_single_column("a|b", "answer") == ("a|b",)
    assert texts_of_cell("a|b", "answers") == ("a", "b")
    with pytest.raises(Malformed, match="subject holds a list"):
        text("['Norway']", "subject")


@pytest.mark.parametrize(
    "value",
    ["1" * 400, "1e400", "1,234", "nan", 10**400, 1 << 20_000, "1_000", True, [1], -1],
    ids=lambda value: type(value).__name__,
)
def test_numbers_that_are_none_are_malformed_shortly(value: Any) -> None:
    with pytest.raises(Malformed) as problem:
        number_of_cell(value, "popularity")
    assert len(str(problem.value)) < 100


def test_hard_inputs_of_answers(tmp_path: Path) -> None:
    rows = [
        {"subject": s, "relation": "capital", "question": f"What is the capital of {s}?"} for s in CAPITALS
    ]
    each = list(zip(rows, CAPITALS.values(), strict=True))
    squad = [{**row, "answers": {"text": [a], "answer_start": [0]}} for row, a in each]
    assert answers(FactSet.load(jsonl(tmp_path / "squad.jsonl", squad))) == [(a,) for _, a in each]
    nested = [{**row, "answers": [[a], [a.upper()]]} for row, a in each]
    assert "set.jsonl:1: answers holds a list inside a list" in refused(jsonl(tmp_path / "set.jsonl", nested))
    nan = [{**row, "answer": float("nan") if i % 2 else a} for i, (row, a) in enumerate(each)]
    facts = FactSet.load(jsonl(tmp_path / "nan.jsonl", nan))
    assert answers(facts) == [("Oslo",), ("Nairobi",), ("Kathmandu",)]
    assert [left.where for left in facts.left_out] == ["nan.jsonl:2", "nan.jsonl:4", "nan.jsonl:6"]
    inside = 'subject,relation,answers\nNorway,capital,"""[\\""Oslo\\"", \\""Oslo City\\""]"""\n'
    assert answers(FactSet.load(write(tmp_path / "t.csv", inside))) == [("Oslo", "Oslo City")]


def test_what_sheets_write_for_nothing_is_no_answer(tmp_path: Path) -> None:
    missing = ("NULL", "N/A", "#N/A", "#REF!", "NONE", "null")
    rows = [f"q{i},{text}" for i, text in enumerate((*missing, *["NA"] * 7))]
    (tmp_path / "t.csv").write_text("\n".join(["question,answer", *rows]))
    facts = FactSet.load(tmp_path / "t.csv", subjects=False)
    assert [fact.answer for fact in facts] == ["NA"] * 7
    assert [left.reason for left in facts.left_out] == ["empty answer list"] * len(missing)


def test_years_from_a_column_of_floats(tmp_path: Path) -> None:
    year = "subject,relation,answer\nTitanic,year of sinking,1912.0\nSputnik 1,year of launch,1957.0\n"
    assert answers(FactSet.load(write(tmp_path / "y.csv", year))) == [("1912",), ("1957",)]
    few = "subject,relation,answer\nInsects,legs,6.0\nSpiders,legs,8.0\nSnakes,legs,\n"
    assert answers(FactSet.load(write(tmp_path / "f.csv", few))) == [("6",), ("8",)]
    versions = "subject,relation,answer\nPython,version,3.10\nRuby,version,3.0\n"
    assert answers(FactSet.load(write(tmp_path / "v.csv", versions))) == [("3.10",), ("3.0",)]
    columns = {"subject": ["Titanic", "Eight"], "answer": [1912.0, None], "relation": ["sank", "sank"]}
    pd.DataFrame(columns).to_parquet(tmp_path / "y.parquet")
    assert answers(FactSet.load(tmp_path / "y.parquet")) == [("1912",)]


def test_nothing_visible_and_huge_numbers_are_malformed_by_line(tmp_path: Path) -> None:
    rows = "subject,relation,answer\n\u200b,capital,Oslo\nPeru,capital,\u2060 \n"
    said = refused(write(tmp_path / "z.csv", rows))
    assert "z.csv:2: empty subject; z.csv:3: empty answer list" in said
    numbers = ("1" + "0" * 400, "1e400", '"12,34"', "nan")
    body = "".join(f"s{i},capital,a{i},{n}\n" for i, n in enumerate(numbers))
    said = refused(write(tmp_path / "h.csv", f"subject,relation,answer,popularity\n{body}"))
    assert said.startswith("h.csv: 4 of 4 rows are malformed (h.csv:2: popularity")
    good = "".join(f"g{i},capital,a{i},1\n" for i in range(4))
    facts = FactSet.load(write(tmp_path / "h.csv", f"subject,relation,answer,popularity\n{body}{good}"))
    assert [left.where for left in facts.left_out] == [f"h.csv:{n}" for n in range(2, 6)]
    assert all("popularity" in left.reason and len(left.reason) < 100 for left in facts.left_out)


def test_braces_are_text(tmp_path: Path) -> None:
    rows = "subject,relation,question,answer\n{subject},capital,What is the capital of {subject}?,Oslo\n"
    rows += "{0},capital,What is the capital of {0}?,Lima\n"
    facts = FactSet.load(write(tmp_path / "b.csv", rows))
    assert [fact.subject for fact in facts] == ["{subject}", "{0}"]
    assert facts[1].question == "What is the capital of {0}?"


def test_arrows_types_become_text_lists_or_malformed_rows(tmp_path: Path) -> None:
    texts = ["Norway", "Peru", "Kenya"]
    lists = [["Oslo"], ["Lima", "Lima City"], ["Nairobi"]]
    table = pa.table(
        {
            "subject": pa.array(texts).dictionary_encode(),
            "relation": pa.array(["capital"] * 3, pa.large_string()),
            "answers": pa.array(lists, pa.large_list(pa.string())),
            "answer": pa.array([b"Oslo", b"Lima", b"Nairobi"], pa.binary()),
            "other": pa.array([{"a": 1}, None, {"a": 2}]),
            "nothing": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert answers(FactSet.load(tmp_path / "t.parquet")) == [("Oslo",), ("Lima", "Lima City"), ("Nairobi",)]
    squad = pa.array([{"text": [a], "answer_start": [0]} for a in ("Oslo", "Lima", "Nairobi")])
    pq.write_table(table.drop(["answer", "answers"]).append_column("answers", squad), tmp_path / "s.parquet")
    assert answers(FactSet.load(tmp_path / "s.parquet")) == [("Oslo",), ("Lima",), ("Nairobi",)]
    days = pa.array([-(10**12), 0, 1], pa.timestamp("s"))  # the first is no date of Python's
    pq.write_table(table.drop(["answer", "answers"]).append_column("answer", days), tmp_path / "d.parquet")
    facts = FactSet.load(tmp_path / "d.parquet")
    assert answers(facts) == [("1970-01-01",), ("1970-01-01 00:00:01",)]
    assert [left.where for left in facts.left_out] == ["d.parquet row 1"]


def test_numbers_that_were_written_as_texts_stay_what_they_are(tmp_path: Path) -> None:
    rows = [{"subject": f"s{i}", "answer": answer} for i, answer in enumerate([["2.0"], ["3.1"], "4.0"])]
    assert answers(FactSet.load(jsonl(tmp_path / "l.jsonl", rows))) == [("2.0",), ("3.1",), ("4.0",)]
    rows = [{"subject": f"s{i}", "answer": answer} for i, answer in enumerate(["1.0", 2, "3.0"])]
    assert answers(FactSet.load(jsonl(tmp_path / "m.jsonl", rows))) == [("1.0",), ("2",), ("3.0",)]
    of_floats = "subject,answer\na,1.0\nb,nan\nc,3.0\n"
    assert answers(FactSet.load(write(tmp_path / "w.csv", of_floats))) == [("1",), ("3",)]


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_short_floats_are_read_as_they_are_written(tmp_path: Path, kind: type) -> None:
    frame = pd.DataFrame({"subject": list("abcd"), "answer": np.array([0.1, 1.7, 3, 98.5], kind)})
    frame.to_parquet(tmp_path / "f.parquet")
    assert answers(FactSet.load(tmp_path / "f.parquet")) == [("0.1",), ("1.7",), ("3",), ("98.5",)]


def test_marks_that_show_nothing_tell_no_names_apart(tmp_path: Path) -> None:
    rows = ["Ada\u200b,Where was Ada born?,Lon\u00addon", "Ada,Where was Ada\u200f born?,London"]
    facts = FactSet.load(write(tmp_path / "u.csv", "\n".join(["subject,question,answer", *rows])))
    assert [(fact.subject, fact.question, fact.answer) for fact in facts] == [
        ("Ada", "Where was Ada born?", "London")
    ]
    assert text("\u0645\u06cc\u200c\u0631\u0648\u0645", "answer") == "\u0645\u06cc\u200c\u0631\u0648\u0645"


@pytest.mark.parametrize(
    "value", [3.0, 98.5, datetime.datetime(1914, 7, 28), Decimal("1.50"), 7, "2.0", None]
)
def test_a_value_that_is_written_as_text_is_read_as_before(value: object, tmp_path: Path) -> None:
    rows = f"subject,answer\na,{as_text(value)}\nb,B7\n"
    read = answers(FactSet.load(write(tmp_path / "t.csv", rows)))
    assert read[:-1] == ([] if value is None else [(text(value, "answer"),)])
