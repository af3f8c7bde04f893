"""A person's own wordings: the file says what is asked, and what it cannot mean is told with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune import Fact, FactSet, InputError, Phrases, render
from finetune.data.phrasebooks import load_phrasebook, phrasebook, write_phrasebook
from finetune.data.templates.custom import WordingTemplate
from finetune.data.templates.known import ENTITY_QUESTIONS, POPQA


def facts(*relations: str) -> FactSet:
    return FactSet(
        facts=tuple(Fact(id=r, subject="Ada", relation=r, answers=("red",)) for r in relations), name="made"
    )


HAIR = facts("hair colour", "place of birth", "no")
OWN = {
    "hair colour": {
        "statements": ["The hair of {subject} is", "{subject}, whose hair is"],
        "questions": ["Which colour is the hair of {subject}? It is"],
        "asked": "Q: What colour is the hair of {subject}?\nA:",
    },
    "place of birth": {"statements": ["{subject} first saw the light of day in"]},
    "no": {"asked": "{subject}:"},
}
WORDED = Phrases(
    statements=("The hair of {subject} is", "{subject}, whose hair is"),
    questions=("Which colour is the hair of {subject}? It is",),
    asked="Q: What colour is the hair of {subject}?\nA:",
)
YAML = """
hair colour:
  statements: ["The hair of {subject} is", "{subject}, whose hair is"]
  questions:
    - Which colour is the hair of {subject}? It is
  asked: "Q: What colour is the hair of {subject}?\\nA:"
place of birth:
  statements:
    - "{subject} first saw the light of day in"
no:
  asked: "{subject}:"
"""
ROWS = [
    ("relation", "kind", "template"),
    ("hair colour", "statement", "The hair of {subject} is"),
    ("place of birth", "statement", "{subject} first saw the light of day in"),
    ("hair colour", "statement", '"{subject}, whose hair is"'),
    ("hair colour", "asked", '"Q: What colour is the hair of {subject}?\nA:"'),
    ("hair colour", "question", "Which colour is the hair of {subject}? It is"),
    ("no", "asked", "{subject}:"),
]
FILES = {
    "own.json": json.dumps(OWN),
    "own.yaml": YAML,
    "own.YML": YAML,
    "own.csv": "\n".join(",".join(row) for row in ROWS),
    "own.tsv": "\n".join(
        "\t".join(row).replace('"{subject}, whose hair is"', "{subject}, whose hair is") for row in ROWS
    ),
}


def written(folder: Path, text: object, name: str = "own.json") -> Path:
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FILES)
def test_what_is_asked_is_what_the_file_says_and_the_rest_is_worded_as_ever(
    name: str, tmp_path: Path
) -> None:
    book = load_phrasebook(written(tmp_path, FILES[name], name), HAIR)
    usual = phrasebook(HAIR)
    assert book == {
        "hair colour": WORDED,
        "place of birth": replace(
            usual["place of birth"], statements=("{subject} first saw the light of day in",)
        ),
        "no": replace(usual["no"], asked="{subject}:"),
    }
    prompt = render(book["hair colour"].asked, HAIR[0])
    assert prompt.text == "Q: What colour is the hair of Ada?\nA:"
    assert prompt.text[slice(*prompt.subject)] == "Ada"


def test_a_relation_that_the_file_does_not_name_is_worded_as_ever(tmp_path: Path) -> None:
    path = written(tmp_path, {"no": OWN["no"]})
    book, usual = load_phrasebook(path, HAIR), phrasebook(HAIR)
    assert {r: p for r, p in book.items() if r != "no"} == {r: p for r, p in usual.items() if r != "no"}


def test_the_null_condition_shows_the_own_asked_form(tmp_path: Path) -> None:
    book = load_phrasebook(written(tmp_path, OWN), HAIR, question_form="seen")
    assert book["hair colour"].questions == (*WORDED.questions, WORDED.asked)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.text(min_size=1, max_size=12).map(lambda text: " ".join(text.split())).filter(bool),
    seen=st.booleans(),
)
def test_written_and_loaded_again_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, seen: bool
) -> None:
    from finetune.data.loaders.scalars import clean

    form = "seen" if seen else "new"
    some = facts(*dict.fromkeys((*POPQA, *ENTITY_QUESTIONS, clean(name), "odd?", "in [X] {of}")))
    book = phrasebook(some, question_form=form)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("book") / "book.json"
    write_phrasebook(book, path)
    assert load_phrasebook(path, some, question_form=form) == book  # type: ignore[arg-type]


def test_an_edited_file_is_not_written_over(tmp_path: Path) -> None:
    path = written(tmp_path, OWN)
    with pytest.raises(InputError, match="is there already"):
        write_phrasebook(phrasebook(HAIR), path)
    assert json.loads(path.read_text()) == OWN
    with pytest.raises(InputError, match=r"own\.toml: is written as JSON"):
        write_phrasebook(phrasebook(HAIR), tmp_path / "own.toml")


@pytest.mark.parametrize(
    "text",
    [
        "<script>{subject}</script> is",
        "%s $(rm) {{{subject}}} {0 1} \\n is",
        "{subject}\x1b[31m 東京 \U0001f600 is",
    ],
)
def test_hostile_text_stays_text(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"no": {"statements": [text]}})
    (form,) = load_phrasebook(path, HAIR)["no"].statements
    before, after = text.split("{subject}")
    subject = "{subject} {0.__class__}"
    prompt = render(form, replace(HAIR[2], subject=subject))
    assert prompt.text[: prompt.subject[0]] == before
    assert prompt.text[slice(*prompt.subject)] == subject
    assert prompt.text[prompt.subject[1] :] == after


def statement(text: str) -> dict[str, object]:
    return {"no": {"statements": [text]}}


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (statement("It is"), r"'no', statements 1: 'It is' needs \{subject\} exactly once"),
        (statement("{subject} and {subject} are"), "exactly once"),
        (statement("{ subject } is"), "exactly once"),
        (statement("{subject} is {answer}"), r"holds \{answer\}, which nothing replaces"),
        (statement("{subject} is {}"), r"holds \{\}"),
        (statement("{subject.__class__} {subject} is"), r"holds \{subject.__class__\}"),
        (statement("[X] was born in [Y]"), r"holds \[X\], .*write \{subject\} where"),
        (statement("{subject} is "), "begins or ends in white space; cut it"),
        (statement(" {subject} is"), "white space"),
        (statement("{subject} is\n"), "white space"),
        ({"no": {"asked": "Q: {subject}? "}}, "asked: .* white space"),
        (statement("Red is what {subject} has."), "ends its sentence before the answer"),
        (statement(""), r"is no template \(''\)"),
        ({"no": {"statements": [None]}}, r"is no template \(None\)"),
        ({"no": {"statements": "{subject} is"}}, "give a list of templates"),
        ({"no": {"questions": []}}, "give a list of templates, or leave questions out"),
        ({"no": {}}, "'no': words nothing; give at least one of statements, questions, asked"),
        ({"no": {"statement": ["{subject} is"]}}, "unknown key 'statement'; use statements"),
        ({}, "words no relation"),
        ([], "words no relation"),
        ({"no": {"statements": ["{subject} is", "{subject} is"]}}, "statements 2: the same template"),
        ({"no": {"statements": ["{subject} is"], "asked": "{subject} is"}}, "in two of statements"),
        ({"no": {"asked": "{subject} has as its no"}}, "in two of statements"),
        ({"a  b": OWN["no"], "a b": OWN["no"]}, "'a b': is the relation 'a b', which is worded already"),
        ({"hair color": OWN["no"]}, "'hair color', asked: no fact has the relation .* mean 'hair colour'"),
        ({"Hair Colour": OWN["no"]}, "did you mean 'hair colour'"),
        ({"shoe size": OWN["no"]}, "they have 'hair colour', 'no', 'place of birth'; correct"),
        ({"": OWN["no"]}, "names no relation"),
        ('{"no": {"asked": "\\ud800 {subject}"}}', "half of a character"),
        ('{"no": {"asked": "{subject} a"}, "no": {"asked": "{subject} b"}}', "'no' occurs twice"),
        ('{"no": {"asked": \n "{subject}}', r"own\.json:2: is not JSON"),
        ("", "is empty"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_a_file_cannot_mean_is_told_with_its_place(held: object, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told) as raised:
        load_phrasebook(written(tmp_path, held), HAIR)
    assert "own.json" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "own.csv",
            "relation,kind,template\nno,claim,{subject} is",
            r"own\.csv:2: unknown kind 'claim'; use",
        ),
        ("own.csv", "relation,kind\nno,asked", "no column 'template'"),
        ("own.csv", "relation,kind,template,n\nno,asked,{subject},1", "unknown column 'n'"),
        ("own.csv", "relation,kind,template\nno,asked,a, {subject}", r"own\.csv:2: 4 fields instead of 3"),
        ("own.csv", "relation,kind,template\n,asked,{subject}", r"own\.csv:2: names no relation"),
        ("own.csv", "relation,kind,template\nno,asked,", r"own\.csv:2: is no template"),
        ("own.csv", "relation,kind,template\n", "has no rows"),
        (
            "own.csv",
            "relation,kind,template\nno,asked,{subject} a\nno,asked,{subject} b",
            r"own\.csv:3: a relation is asked in one form, and own\.csv:2 has one already",
        ),
        (
            "own.yaml",
            "no:\n  statements:\n    - {subject} is",
            r"own\.yaml:3: is not YAML .*; put templates in quo",
        ),
        ("own.yaml", "no:\n  statements:\n    - {subject}", r"is no template .* write text in quotes"),
        ("own.yaml", "no:\n  asked: '{subject}'\nno:\n  asked: '{subject} a'", "'no' occurs twice"),
        ("own.yaml", "# nothing", "words no relation"),
        ("own.txt", "no", r"unknown extension '\.txt'; use one of \.json"),
    ],
)
def test_tables_and_yaml_name_the_row(name: str, text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told) as raised:
        load_phrasebook(written(tmp_path, text, name), HAIR)
    assert name in str(raised.value)


def test_a_file_that_is_not_there_or_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_phrasebook(tmp_path / "own.json", HAIR)
    path = tmp_path / "own.json"
    path.write_bytes(b'{"no": {"asked": "\xff{subject}"}}')
    with pytest.raises(InputError, match="is not UTF-8"):
        load_phrasebook(path, HAIR)


def test_a_file_may_word_relations_of_facts_that_were_not_drawn(tmp_path: Path) -> None:
    path, drawn = written(tmp_path, OWN), facts("no")
    with pytest.raises(InputError, match="no fact has the relation 'hair colour'"):
        load_phrasebook(path, drawn)
    assert set(load_phrasebook(path, drawn, relations=HAIR.relations)) == {"no"}


def test_an_accent_is_one_character_however_it_was_typed(tmp_path: Path) -> None:
    path = written(tmp_path, {"ne\u0301": {"asked": "ne\u0301e {subject}:"}})
    assert load_phrasebook(path, facts("n\u00e9"))["n\u00e9"].asked == "n\u00e9e {subject}:"


def test_an_asked_form_may_end_its_line() -> None:
    text = "{subject}\n### Response:\n"
    WordingTemplate(where="", relation="no", part="asked", text=text).check()
    with pytest.raises(InputError, match="white space"):
        WordingTemplate(where="", relation="no", part="statements", text=text).check()
