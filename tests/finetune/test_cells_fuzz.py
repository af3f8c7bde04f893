"""Any table of any values loads as clean facts, or is refused in one short line; no row is lost.

FUZZ_DRAWS=2000 draws that many tables; the suite draws a few.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune import FactSet, InputError
from finetune.data.loaders.cells import (
    answers_of_single_column,
    items_of_cell,
    text,
    texts_of_cell,
)
from finetune.data.loaders.popularity import number_of_cell
from finetune.data.loaders.rows import read_table
from finetune.data.loaders.scalars import Malformed, is_visible
from finetune.data.phrasebooks import phrasebook
from finetune.data.prompt_formats import ask_in_format

DRAWS = int(os.environ.get("FUZZ_DRAWS", "25"))
NAMES = (
    "subject",
    "relation",
    "answer",
    "answers",
    "question",
    "popularity",
    "choices",
    "id",
    "subj",
    "prop",
)
MORE = (
    "prop",
    "obj",
    "s_pop",
    "possible_answers",
    "choice0",
    "choice1",
    "choice2",
    " Answer ",
    "QUESTION",
    "\x1b[2J",
    "samples",
    "name",
)

words = st.sampled_from(
    [
        "Oslo",
        "nan",
        "None",
        "",
        "1912.0",
        "3.10",
        "\u200b",
        "['a', 'b']",
        "['a' 'b']",
        '["a", ["b"]]',
        '{"text": ["a"], "answer_start": [0]}',
        "{subject}",
        "{question}",
        "a|b",
        "Where is Oslo?",
        "\ud800",
        "\x00",
        "\x1b[31m",
        '"',
        "1" * 400,
        "array(['a'])",
        "0",
        "1",
        "2",
        "A",
    ]
)
texts = st.one_of(words, st.text(max_size=12), st.text("[]{}()'\",\\ ab|\n", max_size=24))
scalars = st.one_of(
    texts,
    texts,
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 4),
    st.floats(),
    st.sampled_from([10**400, 1912.0, -1, 1e400]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
names = st.lists(
    st.sampled_from(NAMES) | st.sampled_from(MORE) | st.text(max_size=6), min_size=1, max_size=6, unique=True
)
# Half of the tables are nearly right, so that draws reach what is behind the columns.
right = st.sampled_from(
    [
        ("subject", "answer"),
        ("subject", "relation", "answers"),
        ("subject", "question", "answer", "choices"),
        ("question", "answer"),
        ("question", "choice0", "choice1", "answer"),
        ("subj", "prop", "obj", "possible_answers"),
    ]
)
cells = st.sampled_from(["Oslo", "Peru", "Where is Oslo?"]) | values


def rows_of(columns: list[str]) -> st.SearchStrategy[tuple[list[str], list[list[Any]]]]:
    row = st.lists(cells, min_size=len(columns), max_size=len(columns))
    return st.lists(row, min_size=1, max_size=6).map(lambda rows: (columns, rows))


tables = (names | right.map(list)).flatmap(rows_of)
marks = b'subject answer , \n " [ ] { } : \r 1 "a" \xff'.split(b" ")
anything = st.binary(max_size=120) | st.lists(st.sampled_from(marks), max_size=30).map(b"".join)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def delimited(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", escapechar="\\")
        for row in (columns, *rows):
            writer.writerow([v if isinstance(v, str) else repr(v) if v is not None else "" for v in row])


def as_json(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    path.write_bytes(encoded(json.dumps(records, ensure_ascii=False, indent=1)))


def as_lines(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=len(columns) > 2) for row in rows]
    path.write_bytes(encoded("\n".join(lines)))


def as_parquet(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    arrays = []
    for column in zip(*rows, strict=True):
        try:
            arrays.append(pa.array(list(column)))
        except (pa.ArrowException, OverflowError, TypeError, ValueError, UnicodeError):
            told = (json.dumps(value, default=str).encode() for value in column)
            arrays.append(pa.array(list(told), pa.binary()))
    plain = [name.encode("utf-8", "replace").decode() for name in columns]
    try:
        pq.write_table(pa.Table.from_arrays(arrays, names=plain), path)
    except (pa.ArrowException, NotImplementedError, ValueError):
        pq.write_table(pa.table({"subject": ["Oslo"], "answer": ["Norway"]}), path)


WRITERS = {
    "t.csv": delimited,
    "t.tsv": delimited,
    "t.json": as_json,
    "t.jsonl": as_lines,
    "P17.dev.json": as_json,
    "t.parquet": as_parquet,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=DRAWS, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables, subjects=st.booleans())
def test_any_table_is_read_or_refused(
    folder: Path, name: str, table: tuple[list[str], list[list[Any]]], subjects: bool
) -> None:
    WRITERS[name](folder / name, *table)
    assert faults(folder / name, subjects=subjects) == []


@settings(max_examples=DRAWS, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=anything, name=st.sampled_from(list(WRITERS)))
def test_any_bytes_are_read_or_refused(folder: Path, raw: bytes, name: str) -> None:
    (folder / name).write_bytes(raw)
    assert faults(folder / name, subjects=False) == []


@settings(max_examples=DRAWS, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    value=values
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.binary(max_size=8)
    | st.complex_numbers()
    | st.just(Decimal("sNaN"))
    | st.just(datetime.UTC)
)
def test_any_value_is_text_a_list_or_malformed(value: Any) -> None:
    for read in (text, number_of_cell, texts_of_cell, answers_of_single_column, items_of_cell):
        try:
            found = read(value, "cell")
        except Malformed as error:
            found, problem = (), str(error)
        else:
            problem = "none"
        some = found if isinstance(found, tuple) else (found,) if isinstance(found, str) else ()
        assert all(map(is_clean, some))
        assert is_short(problem, 160)


def faults(path: Path, *, subjects: bool) -> list[str]:
    """Say what is wrong with how a file is read or refused; nothing where all is well."""
    try:
        facts = FactSet.load(path, subjects=subjects)
    except InputError as error:
        return [] if is_short(error, 500) else [str(error)]
    found = [] if len(facts) + len(facts.left_out) == len(read_table(path).rows) else ["rows are lost"]
    found += [left.reason for left in facts.left_out if not is_short(left.reason, 500)]
    found += [left.where for left in facts.left_out if not left.where.isprintable()]
    for fact in facts:
        texts = (fact.id, fact.subject, fact.relation, *fact.answers)
        if not fact.answers or not all(map(is_clean, texts)):
            found.append(repr(fact))
    assert len(facts.digest) == 64
    try:
        prompts = ask_in_format(facts, phrasebook(facts))
    except InputError as error:
        return found if is_short(error, 500) else [*found, str(error)]
    return found if len(prompts) == len(facts) else [*found, "prompts are lost"]


def is_short(error: object, most: int) -> bool:
    return str(error).isprintable() and 0 < len(str(error)) <= most


def is_clean(text: str) -> bool:
    return isinstance(text, str) and is_visible(text) and not any(c in text for c in "\x00\x1b\ud800\x07")
