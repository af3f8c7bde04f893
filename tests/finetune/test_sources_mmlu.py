"""MMLU: one set of facts out of each layout; questions that cannot be right are set aside with the reason."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune import Fact, FactSet, InputError
from finetune.data.splits import partition

SHARED = Path(__file__).parents[3] / "shared/data"
STEM = 'This passage, of 1955; it says:\n"No task is more urgent."\nWhat followed?'
ROWS = [
    (STEM, ("Peace, of a kind", "War", "None", "NA"), 3),
    ("The cost of a thing is called", ("its price", "its colour", "  3.50 ", "0"), 2),
    ("Which is true?", ("a", "b", "c", "d"), 0),
    ("Which is true?", ("e", "f", "g", "h"), 1),
]


def csv_text(rows: list[tuple]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def with_header(path: Path, rows: list[tuple]) -> Path:
    header = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
    path.write_text(csv_text([header, *((stem, *choices, right) for stem, choices, right in rows)]))
    return path


def headless(path: Path, rows: list[tuple]) -> Path:
    path.write_text(csv_text([(stem, *choices, "ABCD"[right]) for stem, choices, right in rows]))
    return path


def hub_rows(rows: list[tuple], subset: str) -> list[dict]:
    return [
        {"question": stem, "subject": subset, "choices": list(choices), "answer": right}
        for stem, choices, right in rows
    ]


def hub_jsonl(path: Path, rows: list[tuple]) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("\n".join(map(json.dumps, hub_rows(rows, "law"))))
    return path


def hub_json(path: Path, rows: list[tuple]) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(hub_rows(rows, "law"), indent=1))
    return path


def hub_parquet(path: Path, rows: list[tuple]) -> Path:
    path = path.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(hub_rows(rows, "law")), path)
    return path


LAYOUTS = (with_header, headless, hub_json, hub_jsonl, hub_parquet)


@pytest.mark.parametrize("write", LAYOUTS)
def test_every_layout_gives_the_same_facts(tmp_path: Path, write: Callable[[Path, list], Path]) -> None:
    facts = FactSet.load(write(tmp_path / "law_test.csv", ROWS))
    assert facts[0] == Fact(
        id="law/1",
        subject=STEM,
        relation="law",
        answers=("NA",),
        question=STEM,
        choices=("Peace, of a kind", "War", "None", "NA"),
    )
    assert facts[1].answers == ("3.50",)
    assert [fact.id for fact in facts] == [f"law/{i}" for i in (1, 2, 3, 4)]
    assert not facts.left_out


def test_the_hubs_data_set_is_numbered_within_each_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, config: str) -> datasets.DatasetDict:
        asked.append((name, config))
        rows = hub_rows(ROWS, "law")
        if config == "all":
            rows = [row for pair in zip(rows, hub_rows(ROWS, "anatomy"), strict=True) for row in pair]
        parts = {"auxiliary_train": hub_rows(ROWS[:1], ""), "test": rows, "dev": rows[:1]}
        return datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in parts.items()})

    monkeypatch.setattr("finetune.data.loaders.hub_data_sets.load_dataset", load_dataset)
    whole, part = FactSet.load("mmlu"), FactSet.load("mmlu:law")
    assert asked == [("cais/mmlu", "all"), ("cais/mmlu", "law")]
    assert whole.relations == ("anatomy", "law")
    assert tuple(fact for fact in whole if fact.relation == "law") == part.facts
    assert len(part) == 4
    assert {left.where: left.reason for left in part.left_out} == {
        "mmlu:law, split auxiliary_train": "1 rows were not loaded; test is the split taken",
        "mmlu:law, split dev": "1 rows were not loaded; test is the split taken",
    }
    # The same data set by its id is recognised by its columns, so its test split is taken too.
    assert FactSet.load("cais/mmlu:law").facts == part.facts


def test_questions_that_cannot_be_right_are_set_aside(tmp_path: Path) -> None:
    bad = {
        "empty question": ("", "a", "b", "c", "d", "0"),
        "names none of the 4 choices": ("q1", "a", "b", "c", "d", "4"),
        "'-1' names none": ("q2", "a", "b", "c", "d", "-1"),
        "names none of the 3 choices": ("q3", "a", "b", "c", "", "3"),
        "choice 1 (from 0) is empty": ("q4", "a", "", "c", "d", "1"),
        "1 choices, where": ("q5", "a", "", "", "", "0"),
        "the choice 'b' occurs twice": ("q6", "a", "b", "b", "d", "0"),
        "neither an option's index nor its letter": ("q7", "a", "b", "c", "d", "first"),
        "empty answer": ("q8", "a", "b", "c", "d", ""),
    }
    good = [(f"good {i}", "a", "A", "c", "", "1") for i in range(12)]
    header = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
    (tmp_path / "law_dev.csv").write_text(csv_text([header, *bad.values(), *good]))
    facts = FactSet.load(tmp_path / "law_dev.csv")
    assert len(facts) == 12
    assert facts[0].choices == (
        "a",
        "A",
        "c",
    )  # case tells options apart; an empty end is none
    assert facts[0].id == "law/10"  # a row keeps its number, whatever is set aside before it
    assert [left.where for left in facts.left_out] == [f"law_dev.csv:{n}" for n in range(2, 11)]
    for left, reason in zip(facts.left_out, bad, strict=True):
        assert reason in left.reason


def test_a_question_is_told_apart_by_its_options_whatever_their_order(tmp_path: Path) -> None:
    rows = [
        ("Which is true?", ("a", "b", "c", "d"), 0),
        ("Which is true?", ("d", "a", "b", "c"), 1),  # the same, permuted
        ("Which is true?", ("a", "b", "c", "d"), 2),  # the same, with another answer
        ("Which is true?", ("a", "b", "c", "e"), 2),  # another one
    ]
    facts = FactSet.load(with_header(tmp_path / "law.csv", rows))
    assert [fact.id for fact in facts] == ["law/1", "law/4"]
    assert [left.reason for left in facts.left_out] == [
        "duplicate of law.csv:2",
        "another fact has the same question and choices (law.csv:2 is kept)",
    ]
    more = [(f"Question {i}?", ("a", "b"), 0) for i in range(30)]
    padded = [(stem, (*choices, "", "")[:4], right) for stem, choices, right in (*rows, *more)]
    parts = partition(FactSet.load(with_header(tmp_path / "law.csv", padded)))
    held = [{f.subject for f in part} for part in (parts.train, parts.validation, parts.test)]
    assert not held[0] & held[2]
    assert not held[0] & held[1]


def test_a_directory_takes_one_split_and_names_subsets_by_file(tmp_path: Path) -> None:
    for split, name in (("dev", "law_dev.csv"), ("test", "law_test.csv"), ("test", "anatomy_test.csv")):
        (tmp_path / "data" / split).mkdir(parents=True, exist_ok=True)
        headless(tmp_path / "data" / split / name, ROWS)
    (tmp_path / "data" / "README.txt").write_text("about")
    facts = FactSet.load(tmp_path / "data")
    assert facts.name == "data/test"
    assert facts.relations == ("anatomy", "law")
    assert len(facts) == 8
    assert [(left.where, left.reason) for left in facts.left_out] == [
        ("dev", "was not read; test is the split taken")
    ]
    assert len(FactSet.load(tmp_path / "data" / "dev")) == 4
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("law_test.csv", "law_val.csv"):
        with_header(flat / name, ROWS)
    (flat / "notes.md").write_text("about")
    both = FactSet.load(flat)
    assert len(both) == 4
    assert {left.where for left in both.left_out} == {"law_val.csv", "notes.md"}


def test_ones_own_table_may_have_options(tmp_path: Path) -> None:
    rows = [
        {"subject": "Oslo", "relation": "country", "answer": "Norway", "choices": ["Chad", "Norway"]},
        {"subject": "Lima", "relation": "country", "answer": "Peru"},
        {"subject": "Bern", "relation": "country", "answer": "Switzerland", "choices": "Chad|Peru"},
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    facts = FactSet.load(tmp_path / "own.jsonl")
    assert [fact.choices for fact in facts] == [("Chad", "Norway"), ()]
    assert "'Switzerland' is not among the choices" in facts.left_out[0].reason


def written(path: Path, *lines: str) -> FactSet:
    path.write_text("\n".join(lines))
    return FactSet.load(path)


def test_options_that_are_numbers_or_letters_are_named_by_their_texts(tmp_path: Path) -> None:
    head = "question,choices,answer"
    legs = ("legs of a bird?,1|2|3|4,2", "moons of Mars?,2|1|3|0,2")
    for facts in (
        written(tmp_path / "a.csv", head, *legs),
        written(tmp_path / "b.csv", "question,choice0,choice1,choice2,choice3,answer", *legs_apart(legs)),
        written(
            tmp_path / "c.json",
            json.dumps([dict(zip(head.split(","), x.split(","), strict=True)) for x in legs]),
        ),
    ):
        assert [fact.answers for fact in facts] == [("2",), ("2",)]
    blood = written(tmp_path / "d.csv", head, "donor?,A|B|AB|O,O", "only B?,B|A|AB|O,B")
    assert [fact.answer for fact in blood] == ["O", "B"]


def legs_apart(lines: tuple[str, ...]) -> list[str]:
    return [line.replace("|", ",") for line in lines]


def test_a_table_that_says_places_is_read_so_even_where_options_are_numbers(tmp_path: Path) -> None:
    head = "question,choices,answer"
    facts = written(tmp_path / "a.csv", head, "capital?,Rome|Oslo|Bonn|Bern,0", "legs?,1|2|3|4,1")
    assert [fact.answer for fact in facts] == ["Rome", "2"]
    places = written(tmp_path / "b.csv", head, "capital?,Rome|Oslo,B", "blood?,B|A|AB|O,A")
    assert [fact.answer for fact in places] == ["Oslo", "B"]


@pytest.mark.parametrize(
    "rows",
    [
        [("capital?", "Rome|Oslo", "Rome"), ("other?", "Rome|Oslo", "0"), ("legs?", "1|2|3|4", "2")],
        [("legs?", ["1", "2", "3", "4"], 2), ("moons?", ["2", "1", "3", "0"], 2)],
    ],
)
def test_an_answer_that_means_two_options_is_refused(rows: list[tuple], tmp_path: Path) -> None:
    lines = [json.dumps(dict(zip(("question", "choices", "answer"), row, strict=True))) for row in rows]
    with pytest.raises(
        InputError, match=r"t\.jsonl:\d: the answer '?2'? is the text of one option .* write let"
    ):
        written(tmp_path / "t.jsonl", *lines)


@pytest.mark.parametrize(
    "head", ["A,B,C,D", "option_a,option_b,option_c,option_d", "Option A,Option B,Option C,Option D"]
)
@pytest.mark.parametrize("answers", ["AC", ("x0", "z")])
def test_a_column_a_letter_holds_the_options(head: str, answers: str, tmp_path: Path) -> None:
    lines = [f"Who is {i}?,x{i},y,z,w,{answer}" for i, answer in enumerate(answers)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([f"question,{head},answer", *lines]))
    facts = FactSet.load(path, subjects=False)
    assert [fact.answer for fact in facts] == ["x0", "z"]
    assert facts[0].choices == ("x0", "y", "z", "w")


def test_columns_that_are_no_options_are_none_and_unclear_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("question,A,B,answer\nWho?,1,2,Ada\nWhat?,3,4,Bo\n")
    assert FactSet.load(path, subjects=False)[0].choices == ()
    path.write_text("question,option1,option2,answer\nWho?,Ada,Bo,1\nWhat?,x,y,2\n")
    with pytest.raises(InputError, match="option1, option2 look like options; call them choice0, choice1"):
        FactSet.load(path, subjects=False)


def test_ones_own_table_with_options_keeps_subject_popularity_and_id(tmp_path: Path) -> None:
    lines = ["France,Capital of France?,Paris|Rome,{},9,a", "Italy,Capital of Italy?,Paris|Rome,{},7,b"]
    for answers in (("Paris", "Rome"), ("A", "B"), ("0", "1")):
        told = [line.format(answer) for line, answer in zip(lines, answers, strict=True)]
        facts = written(tmp_path / "t.csv", "subject,question,choices,answer,popularity,id", *told)
        assert facts[0] == Fact(
            id="a",
            subject="France",
            relation="fact",
            answers=("Paris",),
            question="Capital of France?",
            popularity=9.0,
            choices=("Paris", "Rome"),
        )
        assert facts[1].answers == ("Rome",)
    short = [line.format("Paris").rsplit(",", 2)[0] for line in lines]
    assert written(tmp_path / "u.csv", "subject,question,choices,answer", *short)[0].subject == "France"
    bare = written(tmp_path / "v.csv", "question,choices,answer,popularity,id", "Who?,Ada|Bo,A,3,mine")
    assert (bare[0].id, bare[0].popularity, bare[0].answer) == ("mine", 3.0, "Ada")


def test_a_header_is_not_taken_for_a_question(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("subject,answer,relation,D,A\nOslo,Norway,country,x,y\n")
    assert FactSet.load(tmp_path / "t.csv")[0].answer == "Norway"
    (tmp_path / "u.csv").write_text("one,two,three\nOslo,Norway,x\n")
    with pytest.raises(InputError, match="no column 'subject'"):
        FactSet.load(tmp_path / "u.csv")


# An index beside a list that has the number as another option's text is refused where a file says no more.
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1).filter(
    lambda word: word.strip() and word.strip() not in "0123"
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, st.lists(words, min_size=4, max_size=4), st.integers(0, 3)), min_size=1))
def test_layouts_agree_on_whatever_text(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    """Headless and hub layouts agree on facts and on reasons, whatever the text holds."""
    folder = tmp_path_factory.mktemp("layouts")

    def loaded(write: Callable[[Path, list], Path]) -> list:
        try:
            facts = FactSet.load(write(folder / "law_test.csv", rows))
        except InputError as error:
            return [str(error).split("(")[0].split(": ")[1]]
        return [*facts, *(left.reason.replace(".csv", ".jsonl") for left in facts.left_out)]

    first = [(stem, *choices, "ABCD"[right]) for stem, choices, right in rows[:1]]
    named = {"question", "answer", "answers", "subject", "subj", "relation", "id"}
    if not named & {field.strip().casefold() for field in first[0]} and not rows[0][0].startswith("\ufeff"):
        assert loaded(headless) == loaded(hub_jsonl)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_real_subsets() -> None:
    facts = FactSet.load(SHARED / "mmlu")
    assert facts.relations == ("high_school_geography", "high_school_world_history")
    assert (len(facts), facts.left_out) == (435, ())
    assert all(fact.answer in fact.choices and len(fact.choices) == 4 for fact in facts)
    assert sum("\n" in fact.subject for fact in facts) > 200  # passages keep their lines
