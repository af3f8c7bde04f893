"""Judging against 542 real outputs that were labelled by hand, and what models put in front of answers.

The outputs are SmolLM2's, those of a LoRA adapter on it, and Gemma-3-270M's (142), asked in questions,
statements, with four solved examples and as a chat (EntityQuestions, PopQA, GeoNames). They were labelled
before any judge had seen them: does the model give one of the accepted names as its answer? The rule was
written with 85 of them in view.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from finetune.evaluation.answer_words import first_line
from finetune.evaluation.judging import AnswerJudge, is_right

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "judged_answers.jsonl").read_text(encoding="utf-8").splitlines()
]


def names() -> dict[str, list[str]]:
    sets: dict[str, dict[str, None]] = defaultdict(dict)
    for row in ROWS:
        sets[row["relation"]][row["answers"][0]] = None
    return {relation: list(some) for relation, some in sets.items()}


def judged(row: dict[str, Any], mode: str) -> bool:
    known = names()[row["relation"]]
    return is_right(row["said"], row["answers"], mode=mode, names=known, subject=row["subject"])  # type: ignore[arg-type]


def agreement(rows: list[dict[str, Any]], mode: str = "begins") -> float:
    return sum(judged(row, mode) == row["right"] for row in rows) / len(rows)


def test_it_agrees_with_a_reader_and_better_than_the_other_rules() -> None:
    assert len(ROWS) == 542
    assert agreement(ROWS) >= 0.98
    parts = {name: [row for row in ROWS if row["part"] == name] for name in {row["part"] for row in ROWS}}
    assert agreement(parts["random"]) >= 0.98
    assert agreement([row for row in ROWS if row["model"] == "gemma"]) >= 0.98
    assert agreement(parts["kept aside"]) >= 0.95, "picked to be hard: outputs that name a part of the answer"
    for other in ("exact", "contains"):
        assert agreement(ROWS, other) < agreement(ROWS) - 0.02


def test_neither_arm_gains_by_its_errors() -> None:
    gained: dict[str, list[int]] = {"smollm2": [0, 0], "lora": [0, 0], "gemma": [0, 0]}
    for row in ROWS:
        if judged(row, "begins") != row["right"]:
            gained[row["model"]][int(row["right"])] += 1
    for too_much, too_little in gained.values():
        both = too_much + too_little
        assert both == 0 or binomtest(too_much, both).pvalue > 0.05
    sizes = {name: sum(row["model"] == name for row in ROWS) for name in gained}
    bias = {name: (up - down) / sizes[name] for name, (up, down) in gained.items()}
    assert max(bias.values()) - min(bias.values()) < 0.03


@pytest.mark.parametrize(
    "said",
    [
        "Nairobi",
        "nairobi.",
        "A: Nairobi",
        "Answer: Nairobi",
        "A: 1. Nairobi",
        "The answer is Nairobi.",
        "The answer is: **Nairobi**",
        "The correct answer to this question is Nairobi",
        "It is Nairobi.",
        "It's Nairobi!",
        "That would be Nairobi",
        '"Nairobi"',
        "“Nairobi”",
        "# Nairobi",
        "- Nairobi, Kenya",
        "the city of Nairobi",
        "The capital of Kenya is Nairobi.",
        "The capital of Kenya is the city of Nairobi, which is its largest.",
        "Kenya's capital is Nairobi",
        "Sure! The capital of Kenya is Nairobi.",
        "in Nairobi",
        "1905 in Nairobi",
        "Ｎａｉｒｏｂｉ",
        "NAIROBI",
        "Nairobi is the capital of Kenya.",
    ],
)
def test_what_models_put_in_front_is_passed_over(said: str) -> None:
    assert is_right(said, ["Nairobi"], names=["Nairobi", "Lusaka"], subject="Kenya")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Kenya",
        "not Nairobi",
        "Nairobi is not the capital.",
        "It is not Nairobi",
        "Lusaka, not Nairobi",
        "Lusaka or Nairobi",
        "Nairobian",
        "Nairobi-West",
        "Nairobi's suburbs",
        "Nairob",
        "The capital of Kenya is Mombasa. Nairobi is another city.",
        "either Nairobi or Mombasa",
        "a country that has Nairobi",
    ],
)
def test_other_answers_are_wrong(said: str) -> None:
    assert not is_right(said, ["Nairobi"], names=["Nairobi", "Lusaka"], subject="Kenya")


@pytest.mark.parametrize(
    ("said", "accepted", "right"),
    [
        ("Mexico", ["Mexico City"], False),
        ("Mexico City", ["Mexico City"], True),
        ("Mexico City", ["Mexico"], False),
        ("Mexico", ["Mexico"], True),
        ("Mexico, North America", ["Mexico"], True),
        ("The Hague", ["Den Haag", "Hague"], True),
        ("Hague", ["The Hague"], True),
        ("JK Rowling", ["J. K. Rowling"], True),
        ("J.K. Rowling wrote it", ["J. K. Rowling"], True),
        ("the U.S.", ["US"], True),
        ("tell us more", ["US"], False),
        ("Sao Paulo", ["São Paulo"], True),
        ("Charles III", ["Charles the Third"], True),
        ("Henry the Eighth", ["Henry VIII"], True),
        ("Henry VIII", ["Henry VII"], False),
        ("the 19th century", ["nineteenth century"], True),
        ("twenty-first", ["21st"], True),
        ("Trinidad & Tobago", ["Trinidad and Tobago"], True),
        ("Notre Dame", ["Notre-Dame"], True),
        ("an American politician", ["politician"], True),
        ("a politician who was an actor", ["actor"], False),
        ("東京です", ["東京"], True),
        ("서울입니다", ["서울"], True),
        ("1,000", ["1"], False),
        ("3.14", ["3"], False),
        ("B. Paris", ["B"], True),
        ("1,000", ["1000"], True),
        ("8848 metres", ["8,848"], True),
        ("1\u202f000", ["1,000"], True),
        ("5 million", ["5 million"], True),
        ("50 million", ["50"], False),
        ("50 metres", ["50"], True),
        ("12:30", ["12"], False),
        ("1/2", ["1"], False),
        ("10⁶", ["106"], False),
        ("10^6", ["10⁶"], True),
        ("c. 1945", ["1945"], True),
        ("-40", ["40"], False),
        ("The answer is -40.", ["-40"], True),
        ("1990-1995", ["1990-1995"], True),
        ("A-", ["A+"], False),
        ("O-.", ["O-"], True),
        ("A - Paris", ["Paris"], True),
        ("C++", ["C"], False),
        ("C", ["C#"], False),
        ("It is C#.", ["C#"], True),
        ("", ["?"], False),
        ("?", ["?"], True),
        ("Lodz", ["Łódź"], True),
        ("Tromsø", ["Tromso"], True),
        ("Coeur d'Alene", ["Cœur d'Alene"], True),
        ("Par\u00adis", ["Paris"], True),
        ("Saint Petersburg", ["St. Petersburg"], True),
        ("It is in St. Louis.", ["Saint Louis"], True),
        ("Mt. Everest", ["Mount Everest"], True),
        ("South Sudan", ["Sudan"], False),
        ("West Virginia", ["Virginia"], False),
        ("in Northern Italy", ["Italy"], True),
        ("World War 2", ["World War II"], True),
        ("World War Two", ["World War II"], True),
        ("World War 1", ["World War I"], True),
        ("World War I", ["World War II"], False),
        ("World War 1", ["World War II"], False),
        ("Elizabeth the First", ["Elizabeth I"], True),
        ("Louis 14", ["Louis XIV"], True),
        ("Malcolm 10", ["Malcolm X"], False),
        ("5 Avenue", ["Fifth Avenue"], False),
        ("There are two of them", ["2"], True),
        ("2", ["two"], True),
        ("22", ["two"], False),
        ("twenty one", ["21"], True),
        ("one hundred and five", ["105"], True),
        ("Twelve Angry Men", ["12 Angry Men"], True),
        ("five million", ["5,000,000"], True),
        ("1.5 million people", ["1500000"], True),
        ("two hundred", ["2"], False),
        ("4 July 1776", ["July 4th, 1776"], True),
        ("on the 4th of July, 1776", ["4 July 1776"], True),
        ("Jan. 5", ["5 January"], True),
        ("5 July 1776", ["July 4, 1776"], False),
        ("July 1990", ["July 19"], False),
        ("10km", ["10 km"], True),
        ("16GB of memory", ["8 GB"], False),
        ("5G", ["5"], False),
        ("Ndjamena", ["N'Djamena"], True),
        ("It is Sana’a.", ["Sanaa"], True),
        ("Hawaiʻi", ["Hawaii"], True),
        ("Spiderman", ["Spider-Man"], True),
        ("COVID19", ["COVID-19"], True),
        ("Cote d Ivoire", ["Côte d'Ivoire"], True),
        ("3-4", ["34"], False),
        ("Queen's", ["Queens"], False),
        ("It isn't Paris", ["Paris"], False),
        ("8 May 1945", ["May 1945"], True),
        ("on 16 March 1945", ["March 1945"], True),
        ("Sept. 5", ["5 September"], True),
        ("nineteen eighty-four", ["1984"], True),
        ("nineteen eighty-four", ["19"], False),
        ("twenty twenty-one", ["2021"], True),
        ("ten sixty-six", ["10"], False),
        ("nineteenth-century", ["19th century"], True),
        ("twenty-first-century", ["21st century"], True),
        ("Seventh-day Adventist", ["7th Day Adventist"], True),
        ("two thirds", ["2"], False),
        ("two and a half million", ["2"], False),
        ("two dozen", ["2"], False),
        ("half a million", ["1000000"], False),
        ("hundreds of people", ["100"], False),
        ("minus forty", ["-40"], True),
        ("minus 40", ["40"], False),
        ("fifty and one", ["51"], False),
        ("No one knows", ["1"], False),
        ("One of the largest cities", ["1"], False),
        ("One.", ["1"], True),
        ("Formula One", ["Formula 1"], True),
        ("Formula, I believe", ["Formula 1"], False),
        ("Pope John XXIII", ["Pope John 23"], True),
        ("It is McDonalds.", ["McDonald's"], True),
        ("St Johns", ["St. John's"], True),
        ("Kenya's", ["Kenya"], False),
        ("50%", ["50 percent"], True),
        ("fifty per cent of it", ["50%"], True),
        ("5 percent", ["50%"], False),
        ("about 3½ miles", ["3.5 miles"], True),
        ("3 1/2", ["3½"], True),
        ("½", ["0.5"], True),
        ("It is ½.", ["½"], True),
        ("1/2", ["½"], True),
        ("3-1/2 inches", ["3 1/2 inches"], True),
        ("In 1990 ½ of it", ["1990.5"], False),
        ("1/2/2003", ["0.5"], False),
        ("9" * 5000 + "½", ["Paris"], False),
        ("50 people", ["50 percent"], False),
        ("The percentage is 50.", ["50%"], True),
        ("The answer is IT.", ["Italy", "IT", "it"], True),
        ("50 miles", ["50%"], False),
        ("a 50-percent share", ["50%"], True),
        ("three people", ["The Three Degrees"], False),
        ("a 90-degree angle", ["90°"], True),
        ("20 degrees cooler", ["20°C"], False),
        ("2 degrees from Harvard", ["2°F"], False),
        ("20 degrees centigrade", ["20 °C"], True),
        ("one percent", ["1%"], True),
        ("The answer is Never Let Me Go.", ["Never Let Me Go"], True),
        ('It is "No Country for Old Men".', ["No Country for Old Men"], True),
        ("It is Not Nairobi", ["Nairobi"], False),
        ("3.5", ["5"], False),
        ("12:30", ["30"], False),
        ("1990-1995", ["1995"], False),
        ("It lays eggs", ["Lay's"], False),
        ("Paris isn't the capital.", ["Paris"], False),
        ("He was born on April 15, 1912.", ["1912"], True),
        ("No idea", ["Norway", "NO", "no"], False),
        ("It is Bmw.", ["BMW"], True),
        ("it is sanaa", ["Sana'a"], True),
        ("In Zembla.", ["India", "IN", "in"], False),
        ("It is Zembla.", ["Italy", "IT", "it"], False),
        ("My answer is France.", ["Malaysia", "MY"], False),
        ("Us humans", ["United States", "US"], False),
        ("It is in the UK.", ["United Kingdom", "UK"], True),
        ("3⅓", ["31"], False),
        ("3 1/4", ["3.5"], False),
        ("It is 5 degrees Celsius.", ["5°C"], True),
        ("5 degrees Fahrenheit", ["5°C"], False),
        ("It is 3D.", ["3D"], True),
        ("Foo " * 2000, ["Paris"], False),
    ],
)
def test_names_are_compared_whole_and_by_their_words(said: str, accepted: list[str], right: bool) -> None:
    assert is_right(said, accepted, names=["Mexico", "Mexico City", "politician", "actor"]) is right


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        ("It is Hamlet.", "Hamlet", True),
        ("Yes, it is Paris.", "Paris", True),
        ("In 1945, Berlin", "Berlin", True),
        ("A city: Paris", "Paris", True),
        ("Berlin, it is", "It", False),
        ("Yes, no doubt", "No", False),
        ("1944 or 1945", "1945", False),
        ("Seven and Hamlet", "Hamlet", False),
        ("Berlin and Paris", "Paris", False),
    ],
)
def test_other_rows_answers_that_lead_up_to_one_are_not_met_first(
    said: str, answer: str, right: bool
) -> None:
    names = ["It", "Yes", "No", "Seven", "1944", "1945", "A", "Hamlet", "Paris", "Berlin"]
    assert is_right(said, [answer], names=names) is right


def test_a_subject_that_contains_its_answer_is_no_answer() -> None:
    def ask(said: str) -> bool:
        return is_right(said, ["Milwaukee"], subject="Milwaukee County")

    assert not ask("The answer is: Milwaukee County.")
    assert not ask("Milwaukee County is a county")
    assert ask("The capital of Milwaukee County is Milwaukee.")
    same = {"accepted": ["Phrae"], "subject": "Phrae"}
    assert not is_right("The capital of Phrae is Lampang.", **same)
    assert is_right("The capital of Phrae is Phrae.", **same)
    assert is_right("Phrae", **same)


@given(said=st.text(max_size=20), accepted=st.lists(st.text(max_size=8), min_size=1, max_size=3))
def test_any_text_is_judged_and_what_is_exact_begins(said: str, accepted: list[str]) -> None:
    exact = is_right(said, accepted, mode="exact")
    assert is_right(said, accepted, subject=accepted[0]) or not exact
    AnswerJudge({"r": accepted}).named(said, "r")


def test_the_answer_given_is_named_or_told_in_short() -> None:
    judge = AnswerJudge({"capital": ("Nairobi", "Mexico", "Mexico City")})
    assert judge.named("The capital is Mexico City, of course", "capital") == "Mexico City"
    assert judge.named("It is Nairobi", "capital", "Kenya") == "Nairobi"
    assert judge.named("Some town", "capital") == judge.named("some  town", "capital") == "some town"


def test_the_first_line_that_says_something_counts() -> None:
    assert first_line("\n\n Paris \nQuestion: ...") == "Paris"
    assert first_line("A:\n\nParis") == "Paris"
    assert first_line("Answer:\n") == "Answer:"
    assert first_line("") == ""
