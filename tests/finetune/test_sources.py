"""Facts come out as they stand in a file; what cannot be used is reported by line, and the rest is kept."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune import Fact, FactSet, InputError
from finetune.data.loaders.entity_questions import TEMPLATES
from finetune.data.loaders.rows import read_table
from finetune.data.prompts import question_prompt, render
from finetune.data.records.subject_position import SLOT, find_subject

SHARED = Path(__file__).parents[3] / "shared/data"
POPQA_HEADER = "id\tsubj\tprop\tobj\ts_pop\to_pop\tquestion\tpossible_answers\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def reasons(facts: FactSet) -> dict[str, str]:
    return {left.where: left.reason for left in facts.left_out}


def popqa_row(id: int, subject: str, answer: str, views: object = 10, question: str | None = None) -> str:
    question = question or f"Who is the author of {subject}?"
    aliases = json.dumps([f"{answer} Jr.", answer]).replace('"', '""')
    return f'{id}\t{subject}\tauthor\t{answer}\t{views}\t5\t{question}\t"{aliases}"\n'


def test_popqa_rows_become_facts(tmp_path: Path) -> None:
    facts = FactSet.load(write(tmp_path / "p.tsv", POPQA_HEADER + popqa_row(7, "Emma", "Jane Austen", 1234)))
    assert facts[0] == Fact(
        id="7",
        subject="Emma",
        relation="author",
        answers=("Jane Austen", "Jane Austen Jr."),
        question="Who is the author of Emma?",
        popularity=1234.0,
    )
    assert not facts.left_out


def test_popqa_problems_are_named_by_line(tmp_path: Path) -> None:
    good = [popqa_row(100 + i, f"Book {i}", f"Writer {i}") for i in range(12)]
    bad = {
        "missing": popqa_row(1, "A", "X", ""),
        "not a number": popqa_row(2, "B", "X", "many"),
        "is negative": popqa_row(3, "C", "X", -4),
        "does not occur": popqa_row(4, "Emma", "X", 1, "Who is the author of Persuasion?"),
        "fields instead of 8": "5\tE\tauthor\n",
        "empty subj": popqa_row(6, "", "X", 1, "Who wrote it?"),
        "empty answer list": "7\tG\tauthor\tX\t1\t1\tWho is the author of G?\t[]\n",
        "not a JSON list": "8\tH\tauthor\tX\t1\t1\tWho is the author of H?\t[broken\n",
        "not a number ": popqa_row(9, "I", "X", "nan"),
    }
    facts = FactSet.load(write(tmp_path / "p.tsv", POPQA_HEADER + "".join([*bad.values(), *good])))
    assert [fact.id for fact in facts] == [str(100 + i) for i in range(12)]
    found = reasons(facts)
    for line, reason in enumerate(bad, start=2):
        assert reason.strip() in found[f"p.tsv:{line}"]


def test_an_open_quote_costs_one_line_and_quoted_newlines_count(tmp_path: Path) -> None:
    text = 'subject,answer\n"Two\nlines",x\n"open,y\nLyon,France\n\nOslo,Norway\nBern\nRome,Italy\n'
    facts = FactSet.load(write(tmp_path / "t.csv", text))
    assert [fact.subject for fact in facts] == ["Two lines", "Lyon", "Oslo", "Rome"]
    assert list(reasons(facts)) == ["t.csv:4", "t.csv:8"]
    rows = {row.cells["subject"]: row.where for row in read_table(tmp_path / "t.csv").rows if not row.problem}
    assert rows["Lyon"] == "t.csv:5"


def test_homonyms_keep_the_most_popular_and_repeats_the_first(tmp_path: Path) -> None:
    rows = [
        popqa_row(1, "Next", "Terrence", 146),
        popqa_row(2, "Next", "Crichton", 5424),
        popqa_row(3, "Emma", "Austen", 9),
        popqa_row(4, "Emma", "Austen", 99),
        popqa_row(3, "Other", "Someone", 1),
    ]
    facts = FactSet.load(write(tmp_path / "p.tsv", POPQA_HEADER + "".join(rows)))
    assert [fact.id for fact in facts] == ["2", "3"]
    assert reasons(facts) == {
        "p.tsv:2": "another fact has the same subject and relation (p.tsv:3 is kept)",
        "p.tsv:5": "duplicate of p.tsv:4",
        "p.tsv:6": "id '3' is already used by p.tsv:4",
    }


def test_one_table_in_five_formats(tmp_path: Path) -> None:
    records = [
        {"subject": "Wien", "relation": "country", "answers": ["Austria", "Österreich"], "popularity": 3.0},
        {"subject": "Łódź", "relation": "country", "answers": ["Poland"], "popularity": 0.0},
    ]
    flat = [{**r, "answers": "|".join(r["answers"])} for r in records]
    table = {
        d: "\n".join(d.join(map(str, row)) for row in (flat[0], *(r.values() for r in flat))) for d in ",\t;"
    }
    files = [
        write(tmp_path / "a.csv", table[","]),
        write(tmp_path / "b.tsv", "\ufeff" + table["\t"]),
        write(tmp_path / "c.csv", table[";"]),
        write(tmp_path / "d.jsonl", "\n".join(map(json.dumps, records))),
        write(tmp_path / "e.json", json.dumps(records, indent=1)),
        tmp_path / "f.parquet",
    ]
    pq.write_table(pa.Table.from_pylist(records), files[-1])
    sets = [FactSet.load(file) for file in files]
    assert sets[0][1] == Fact(
        id="country/Łódź", subject="Łódź", relation="country", answers=("Poland",), popularity=0.0
    )
    assert sets[0][0].answers == ("Austria", "Österreich")
    assert all(found.facts == sets[0].facts for found in sets)


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Beyoncé")
    rows = f"{decomposed},USA,Where is Beyoncé from?\nNhà Hậu Lê,x,Was ist nhà hậu lê?\n"
    text = f"subject,answer,question\n{rows}"
    facts = FactSet.load(write(tmp_path / "t.csv", text))
    assert facts[0].subject == "Beyoncé"
    for fact, shown in zip(facts, ("Beyoncé", "nhà hậu lê"), strict=True):
        prompt = question_prompt(fact)
        assert prompt.text[slice(*prompt.subject)] == shown


def test_a_table_without_relations_tells_facts_apart_by_question(tmp_path: Path) -> None:
    text = "subject,answer,question\nOslo,Norway,Where is Oslo?\nOslo,1048,When was Oslo founded?\n"
    facts = FactSet.load(write(tmp_path / "t.csv", text))
    assert [fact.answer for fact in facts] == ["Norway", "1048"]
    assert {fact.relation for fact in facts} == {"fact"}
    assert len({fact.id for fact in facts}) == 2


def test_json_rows_know_their_lines(tmp_path: Path) -> None:
    elements = ['{"subject": "A", "answer": 1}', '{"subject": "B",\n  "answers": []}', "5"]
    text = "[\n " + ",\n ".join([*elements, '{"subject": "C", "answer": "c"}']) + "\n]"
    facts = FactSet.load(write(tmp_path / "t.json", text))
    assert [fact.answer for fact in facts] == ["1", "c"]
    assert reasons(facts) == {"t.json:3": "empty answer list", "t.json:5": "is not a JSON object"}
    lines = '{"subject": "A", "answer": "a"}\n{oops\n\n{"subject": "B", "answer": "b"}\n'
    assert "t.jsonl:2" in reasons(FactSet.load(write(tmp_path / "t.jsonl", lines)))


def test_entity_questions_recover_subjects_from_templates(tmp_path: Path) -> None:
    rows = [
        {"question": "What is the capital of County Wexford?", "answers": ["Wexford"]},
        {"question": "Where is Wexford?", "answers": ["Ireland"]},
        {"question": "What is the capital of Peru?", "answers": ["Lima"]},
    ]
    facts = FactSet.load(write(tmp_path / "P36.dev.json", json.dumps(rows)))
    assert [fact.subject for fact in facts] == ["County Wexford", "Peru"]
    assert facts[0].relation == "P36"
    assert "does not follow" in facts.left_out[0].reason
    with pytest.raises(InputError, match="no EntityQuestions relation"):
        FactSet.load(write(tmp_path / "capitals.json", json.dumps(rows)))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "subject,answer\n", "no rows"),
        ("t.csv", "name,answer\na,b\n", "no column 'subject'.*found: name, answer"),
        ("t.csv", "subject,reply\na,b\n", "no column 'answer' or 'answers'.*found: subject, reply"),
        ("t.csv", "subject,subject\na,b\n", "occurs twice"),
        ("t.tsv", "subj\tprop\na\tb\n", "no column 'obj'.*found: subj, prop"),
        ("t.txt", "subject,answer\na,b\n", "unknown extension '.txt'"),
        ("t.json", '[{"subject": "a"\n', r"t\.json:2: is not JSON"),
        ("t.parquet", "text", "not a readable parquet"),
        (
            "t.csv",
            "subject,answer\na,1\nb\nc\nd,\n",
            r"3 of 4 rows are malformed \(t.csv:3: 1 fields.*t.csv:5",
        ),
    ],
)
def test_unusable_files_are_refused_in_one_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    file = write(tmp_path / name, text)
    with pytest.raises(InputError, match=said) as refusal:
        FactSet.load(file)
    assert "\n" not in str(refusal.value)
    assert name in str(refusal.value)


def test_paths_that_are_no_files_and_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        FactSet.load(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="holds no file of facts"):
        FactSet.load(tmp_path)
    (tmp_path / "latin.csv").write_bytes("subject,answer\nOslo,Norway\nLódz,Polónia\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.csv:3: is not UTF-8"):
        FactSet.load(tmp_path / "latin.csv")


def test_the_hub_without_a_network_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr("finetune.data.loaders.hub_data_sets.load_dataset", unreachable)
    with pytest.raises(InputError, match="give a file"):
        FactSet.load("popqa")


def test_the_hubs_rows_become_the_same_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    cells = {"subj": "Emma", "prop": "author", "obj": "Austen", "question": "Who is the author of Emma?"}
    rows = [
        {**cells, "id": 7, "s_pop": 12, "possible_answers": '["Austen", "Jane Austen"]'},
        {**cells, "id": 8, "s_pop": None, "possible_answers": '["Austen"]'},
    ]
    monkeypatch.setattr(
        "finetune.data.loaders.hub_data_sets.load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows)
    )
    facts = FactSet.load("popqa")
    assert [(f.id, f.answers, f.popularity) for f in facts] == [("7", ("Austen", "Jane Austen"), 12.0)]
    assert reasons(facts) == {"popqa row 2": "s_pop (popularity) is missing"}


def test_limit_draws_by_seed_and_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "subject,answer\n" + "".join(f"s{i},a\n" for i in range(50)))
    first, again, other = (FactSet.load(file, limit=10, seed=seed) for seed in (0, 0, 1))
    assert first.facts == again.facts != other.facts
    assert [int(f.subject[1:]) for f in first] == sorted(int(f.subject[1:]) for f in first)
    assert len(first) == 10
    assert len(first.left_out) == 1
    assert "40 of 50" in first.left_out[0].reason
    assert not FactSet.load(file, limit=50).left_out
    with pytest.raises(InputError, match="limit = 0"):
        FactSet.load(file, limit=0)


@pytest.mark.parametrize(
    ("subject", "question", "start"),
    [
        ("e", "Who was the producer of e?", 24),
        ("What", "What genre is What?", 14),
        ("Capital", "What is Capital the capital of?", 8),
        ("(batman)", "Who plays (batman)?", 10),
        ("C++", "Who made C++?", 9),
        ("東京", "東京はどこですか", 0),
        ("Kenya", "Who led Kenyans?", 8),
        ("राम", "राम का जन्म कहाँ हुआ और रामायण किसने लिखी?", 0),
        ("Paris", "在Paris的塔是什么？", 1),
    ],
)
def test_the_subject_is_found_where_it_is_meant(subject: str, question: str, start: int) -> None:
    assert find_subject(subject, question) == (start, start + len(subject))
    assert find_subject("absent", question) is None


def test_a_name_inside_another_word_is_no_subject() -> None:
    for name, question in {
        "Art": "Who started the war?",
        "Al": "Who founded Alabama?",
        "5": "What is 15?",
    }.items():
        assert find_subject(name, question) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_real_files() -> None:
    popqa = FactSet.load(SHARED / "popqa.tsv")
    assert len(popqa) + len(popqa.left_out) == 8372
    assert len(popqa.relations) == 16
    for relation in ("P17", "P36", "P50"):
        facts = FactSet.load(SHARED / "entity_questions" / f"{relation}.dev.json")
        assert len(facts) > 850
        assert all(question_prompt(f) == render(TEMPLATES[relation], f) for f in facts)
    published = json.loads((SHARED / "entity_questions/relation_query_templates.json").read_text())
    assert {k: v.replace("[X]", SLOT) for k, v in published.items() if k in TEMPLATES} == TEMPLATES


def entity_files(folder: Path, split: str, *relations: str, rows: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for relation in relations:
        question = TEMPLATES[relation]
        records = [
            {"question": question.replace(SLOT, f"{split} {i}"), "answers": [f"a{i}"]} for i in range(rows)
        ]
        write(folder / f"{relation}.{split}.json", json.dumps(records, indent=4))


def test_a_directory_of_entity_questions_is_one_set(tmp_path: Path) -> None:
    entity_files(tmp_path / "dev", "dev", "P17", "P36", "P106")
    write(tmp_path / "dev" / "relation_query_templates.json", json.dumps({"P17": "?"}))
    facts = FactSet.load(tmp_path / "dev")
    assert facts.relations == ("P106", "P17", "P36")
    assert len(facts) == 9
    assert all(question_prompt(f) == render(TEMPLATES[f.relation], f) for f in facts)
    assert reasons(facts) == {"relation_query_templates.json": "is no file of facts of this data set"}
    alone = FactSet.load(tmp_path / "dev" / "P36.dev.json")
    assert tuple(fact for fact in facts if fact.relation == "P36") == alone.facts
    drawn = FactSet.load(tmp_path / "dev", limit=4, seed=3)
    assert len(drawn) == 4
    assert "5 of 9 usable facts" in reasons(drawn)["dev"]


@pytest.mark.parametrize("nested", [True, False])
def test_of_several_splits_one_is_taken_and_the_others_are_named(tmp_path: Path, nested: bool) -> None:
    for split in ("dev", "test", "train"):
        entity_files(tmp_path / split if nested else tmp_path, split, "P17", "P50")
    facts = FactSet.load(tmp_path)
    assert {fact.subject.split()[0] for fact in facts} == {"train"}
    assert len(facts) == 6
    wanted = ["dev", "test"] if nested else ["P17.dev.json", "P17.test.json", "P50.dev.json", "P50.test.json"]
    assert [left.where for left in facts.left_out] == wanted
    assert {left.reason for left in facts.left_out} == {"was not read; train is the split taken"}


def test_one_broken_file_of_a_directory_is_named(tmp_path: Path) -> None:
    entity_files(tmp_path, "dev", "P17", "P36", rows=9)
    write(tmp_path / "P50.dev.json", '[{"question": "Who')
    with pytest.raises(InputError, match=r"P50\.dev\.json:1: is not JSON"):
        FactSet.load(tmp_path)
    wrong = [{"question": "Where?", "answers": ["x"]}] * 3
    write(tmp_path / "P50.dev.json", json.dumps(wrong))
    with pytest.raises(InputError, match=r"P50\.dev\.json: 3 of 3 rows are malformed"):
        FactSet.load(tmp_path)
