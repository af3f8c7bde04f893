"""Counting in a corpus: one pass equals one search a name; kinds of files; what cannot be read is named."""

from __future__ import annotations

import gzip
import json
import re
import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.common.errors import InputError
from finetune.data.corpus_counts import answer_frequency, corpus_size, count_in_corpus, subject_frequency
from finetune.data.facts import FactSet
from finetune.data.records.fact import Fact


def facts_of(*pairs: tuple[str, tuple[str, ...]]) -> FactSet:
    made = (
        Fact(id=str(i), subject=subject, relation="r", answers=answers)
        for i, (subject, answers) in enumerate(pairs)
    )
    return FactSet(facts=tuple(made), name="made")


FACTS = facts_of(
    ("Ada", ("London", "City of London")),
    ("Ada Lovelace", ("London",)),
    ("O'Neill", ("Zoë",)),
    ("(Batman)", ("Gotham",)),
    ("electronic music", ("genre",)),
    ("nobody", ("nothing",)),
)
LINES = (
    "Ada Lovelace was born in London. Ada! Adamant Ada_1 xAda",
    "O'Neill met Zoë; McO'Neill did not. (Batman) x(Batman) (Batman)y",
    "Electronic Music is a genre.",
    "",
    "London",
)
SUBJECT, TOGETHER = [2, 1, 1, 1, 1, 0], [1, 1, 1, 0, 1, 0]


def write(folder, name, lines=LINES):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    records = ".json" in name
    text = "\n".join(json.dumps({"text": line}) if records else line for line in lines)
    (gzip.open if name.endswith(".gz") else open)(path, "wb").write(text.encode())
    return path


@pytest.mark.parametrize("name", ["c.txt", "c.jsonl", "c.txt.gz", "c.jsonl.gz", "unnamed"])
def test_mentions_are_whole_words_and_documents_hold_both(tmp_path, name):
    found = count_in_corpus(write(tmp_path, name), FACTS)
    assert found.subject.tolist() == SUBJECT
    assert found.together.tolist() == TOGETHER
    assert found.documents == 4  # a blank line is none


def test_a_directory_is_all_its_files_and_names_the_others(tmp_path):
    write(tmp_path, "a/c.txt")
    write(tmp_path, "b.jsonl.gz")
    (tmp_path / "c.parquet").write_bytes(b"\0")
    found = count_in_corpus(tmp_path, FACTS)
    assert found.subject.tolist() == [2 * n for n in SUBJECT]
    assert found.documents == 8
    assert [item.where for item in found.left_out] == [str(tmp_path / "c.parquet")]


def slow(name: str, text: str, flags: int = 0) -> int:
    """Count a name by itself, as the project finds a subject in a text."""
    return len(re.findall(rf"(?<!\w)(?=({re.escape(name)})(?!\w))", text, flags))


NAMES = st.text(alphabet="abA .'(-é", min_size=1, max_size=5).filter(lambda name: name.strip() == name)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=5),
    text=st.text(alphabet=string.ascii_letters[:3] + "A .'(-é_1", max_size=60),
)
def test_one_pass_counts_what_one_search_a_name_counts(tmp_path_factory, names, text):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "c.txt").write_text(f"begin {text}", encoding="utf-8")
    facts = facts_of(*((name, (names[0],)) for name in names))
    found = count_in_corpus(folder / "c.txt", facts)
    text = f"begin {text}".strip()
    for i, name in enumerate(names):
        exact = slow(name, text)
        assert found.subject[i] == (exact or slow(name.casefold(), text.casefold()))


def test_composed_and_decomposed_letters_are_one(tmp_path):
    write(tmp_path, "c.txt", [unicodedata.normalize("NFD", "Zoë Québec is here")])
    assert count_in_corpus(tmp_path / "c.txt", facts_of(("Zoë Québec", ("x",)))).subject.tolist() == [1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.txt", b"", "holds no text"),
        ("c.txt", b"fine\n\xff\xfe\n", r"c.txt:2: is not UTF-8"),
        ("c.jsonl", b'{"text": "a"}\n{"text":\n', r"c.jsonl:2: is not JSON"),
        ("c.jsonl", b'{"body": "a"}\n', r"c.jsonl:1: has no text under 'text' \(found: body\)"),
        ("c.jsonl", b"[1]\n", r"c.jsonl:1: is no JSON object"),
        ("c.txt.gz", b"not gzip", "cannot be read after line 0"),
        ("c.txt.gz", gzip.compress(b"a\n" * 9999, mtime=0)[:-20], "cannot be read after line"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_named(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        count_in_corpus(tmp_path / name, FACTS)


def test_a_missing_corpus_and_an_empty_directory_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such corpus"):
        count_in_corpus(tmp_path / "absent", FACTS)
    with pytest.raises(InputError, match="holds no file that can be read"):
        count_in_corpus(tmp_path, FACTS)


def test_another_field_holds_the_text(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"body": "Ada in London"}\n')
    assert count_in_corpus(tmp_path / "c.jsonl", FACTS, field="body").together[0] == 1


def test_frequencies_in_the_data_ignore_case():
    facts = facts_of(("Ada", ("Rome",)), ("ADA", ("Paris", "Rome")), ("Bo", ("rome",)))
    assert subject_frequency(facts).tolist() == [2, 2, 1]
    assert answer_frequency(facts).tolist() == [2, 1, 2]


@pytest.mark.parametrize("name", ["c.txt", "c.txt.gz"])
def test_progress_ends_at_the_corpus_size(tmp_path, name):
    told = []
    path = write(tmp_path, name, [f"Ada of London {i}" for i in range(2500)])
    count_in_corpus(path, FACTS, advance=told.append)
    assert told == sorted(told)
    assert told[-1] == corpus_size(tmp_path) == path.stat().st_size
    assert len(told) == 3
