"""Tables that a newcomer might give to choose, tune and diagnose: one line, and nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from factscope.cli import main

HEAD = "Question,Answer"
ROWS = [f"Where does person {i} live?,City {i % 5}" for i in range(60)]
GOOD = "\n".join([HEAD, *ROWS]) + "\n"

# name of the file: (what is in it, what choose, tune and diagnose say)
REFUSED: dict[str, tuple[bytes, tuple[str, str, str]]] = {
    "empty.csv": (b"", ("is empty; give a file with a header and rows",) * 3),
    "header.csv": (f"{HEAD}\n".encode(), ("has no rows; give at least one",) * 3),
    "no_answer.csv": (b"Question\nWho?\n", ("no column 'answer' or 'answers'",) * 3),
    "other.csv": (
        GOOD.replace(HEAD, "Prompt,Completion").encode(),
        ("--columns question=NAME answer=NAME) (found: Prompt, Completion)",) * 3,
    ),
    "headless.csv": ("\n".join(ROWS).encode(), ("no columns 'question' and 'answer'",) * 3),
    "utf16.csv": (GOOD.encode("utf-16"), ("is UTF-16 or UTF-32, not UTF-8; save the file as UTF-8",) * 3),
    "latin.csv": (GOOD.replace("live", "lebt für").encode("latin-1"), ("is not UTF-8; save",) * 3),
    "book.xlsx": (b"PK\x03\x04", ("unknown extension '.xlsx'; save it as one of .csv",) * 3),
    "one.csv": (
        f"{HEAD}\n{ROWS[0]}\n".encode(),
        (
            "1 fact; to keep 0.5 of them takes 2 or more",
            "1 fact; training takes 4 subjects or more with these shares for validation and test, and 134",
            "a verdict needs at least 40",
        ),
    ),
    "twice.csv": (
        (f"{HEAD}\n" + f"{ROWS[0]}\n" * 30).encode(),
        ("1 fact (29 rows were set aside: ", "1 fact (29 rows were set aside: ", "at least 40"),
    ),
}
READ = {
    "semicolons.csv": GOOD.replace(",", ";").encode(),
    "tabs.tsv": GOOD.replace(",", "\t").encode(),
    "marked.csv": GOOD.encode("utf-8-sig"),
}


def command(name: str, base: Path, facts: str, out: Path) -> list[str]:
    """Write a subcommand as a newcomer would."""
    words = [name, "--base", str(base), "--facts", facts, "--out", str(out)]
    return words + {"tune": ["--test-share", "0.3"], "diagnose": ["--finetuned", f"mine={base}"]}.get(
        name, []
    )


@pytest.mark.parametrize("place", range(3), ids=("choose", "tune", "diagnose"))
@pytest.mark.parametrize("table", REFUSED)
def test_a_table_that_cannot_be_used_is_refused_in_a_line(
    table: str,
    place: int,
    tiny_llama_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    content, told = REFUSED[table]
    Path(table).write_bytes(content)
    out = Path("chosen.csv" if place == 0 else "run")
    assert main(command(("choose", "tune", "diagnose")[place], tiny_llama_dir, table, out)) == 2
    said = capsys.readouterr().err
    assert told[place] in said
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    assert "Asking" not in said
    assert [path.name for path in tmp_path.iterdir()] == [table]


@pytest.mark.parametrize("table", READ)
def test_a_table_in_another_dialect_is_read_as_it_is(
    table: str, tiny_llama_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / table
    path.write_bytes(READ[table])
    words = command("tune", tiny_llama_dir, str(path), tmp_path / "run")
    with pytest.warns(Warning, match="18 facts are held out: .* give 134 facts in all"):
        assert main([*words, "--steps", "1", "--batch", "2"]) == 0
    assert "of 6 validation facts and" in capsys.readouterr().out


def test_answers_that_are_all_one_are_said(
    tiny_llama_dir: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "same.csv"
    path.write_text("\n".join([HEAD, *(f"Where is {i}?,Rome" for i in range(30))]))
    words = command("tune", tiny_llama_dir, str(path), tmp_path / "run")
    assert main([*words, "--steps", "1", "--batch", "2"]) == 0
    assert any("facts have the answer 'Rome'" in str(warning.message) for warning in recwarn)


def test_a_directory_of_another_command_or_of_other_options_is_left_alone(
    tiny_llama_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts, out = tmp_path / "facts.csv", tmp_path / "run"
    facts.write_text(GOOD)
    few = ["--steps", "1", "--batch", "2"]
    assert main([*command("tune", tiny_llama_dir, str(facts), out), *few]) == 0
    before = sorted(path.name for path in out.iterdir())
    capsys.readouterr()
    assert main([*command("tune", tiny_llama_dir, str(facts), out), "--steps", "2", "--batch", "2"]) == 2
    assert "steps" in capsys.readouterr().err
    assert main(command("diagnose", tiny_llama_dir, str(facts), out)) == 2
    assert str(out) in capsys.readouterr().err
    assert (
        main([*command("choose", tiny_llama_dir, str(facts), tmp_path / "c.csv"), "--report", str(out)]) == 2
    )
    assert str(out) in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == before


def test_a_hub_that_cannot_be_reached_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants, utils

    from finetune.common import hub

    asked = []

    class Unreachable:
        """A client without a network."""

        def head(self, url: str, **options: object) -> None:
            asked.append(url)
            raise ConnectionError

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(utils, "get_session", Unreachable)
    hub.hub_reached.cache_clear()
    (tmp_path / "facts.csv").write_text(GOOD)
    words = [
        "--base",
        "nowhere/model",
        "--facts",
        str(tmp_path / "facts.csv"),
        "--out",
        str(tmp_path / "run"),
    ]
    try:
        for name in ("choose", "tune"):
            assert main([name, *words]) == 2
            told = (
                "error: nowhere/model: no such directory here, and the hub cannot be reached; check the name"
            )
            assert told in capsys.readouterr().err
    finally:
        hub.hub_reached.cache_clear()
    assert asked == [constants.ENDPOINT]
    assert [path.name for path in tmp_path.iterdir()] == ["facts.csv"]
