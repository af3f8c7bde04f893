"""The page of any study: what it says, that nothing of it runs or is fetched, and how numbers are written."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from finetune.facts import InputError
from interp.study import Study, StudyFigure, StudyTable, decided, headline, interval, write_study
from interp.style import new_figure

HOSTILE = "</script><img src=x onerror=alert(1)>"


def study() -> Study:
    figure = new_figure(width=3, height=2)
    figure.subplots().plot([0, 1], [1, 0])
    table = StudyTable(
        title=HOSTILE,
        columns=("Arm", "Share", "Facts", "Said"),
        rows=((HOSTILE, "81.5% (79.6 to 83.4)", 1234, HOSTILE), ("b", None, 0, "no")),
        note=HOSTILE,
    )
    return Study(
        title="Trial",
        question=HOSTILE,
        finding=HOSTILE,
        outcome="inconclusive",
        tables=(table,),
        figures=(StudyFigure(name="line", figure=figure, caption=HOSTILE),),
        examples=(table,),
        notes=(HOSTILE,),
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    manifest = {
        "command": f"python x.py {HOSTILE}",
        "config": {"a": HOSTILE},
        "seeds": [0, 1],
        "left_out": [{"where": HOSTILE, "reason": HOSTILE}],
        "setting": HOSTILE,
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_page_holds_everything_and_fetches_nothing(run: Path) -> None:
    text = write_study(run, study()).read_text()
    assert text.count("1,234") == 2
    assert "not measured" in text
    assert 'class="right">81.5%' in text
    assert "<svg" in text
    assert (run / "figures" / "line.png").is_file()
    assert "python x.py" in text
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text)
    assert "<img" not in text
    assert "<script" not in text
    assert text == write_study(run, study()).read_text()


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        write_study(tmp_path, study())


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        StudyTable(title="t", columns=("a", "b"), rows=(("x",),))


def test_numbers_are_written_with_their_interval() -> None:
    assert interval(0.815, 0.796, 0.834, unit="%") == "81.5% (79.6 to 83.4)"
    assert interval(-0.1, -0.25, 0.05, digits=2, signed=True) == "−0.10 (−0.25 to +0.05)"
    assert interval(0.5, None, None, digits=2) == "0.50"
    assert interval(None, None, None) == interval(math.nan, 0, 1) == "not measured"


def test_an_interval_decides() -> None:
    assert decided({"value": 1, "low": 0.1, "high": 2}) == "supported"
    assert decided({"value": -1, "low": -2, "high": -0.1}) == "not supported"
    assert decided({"value": 1, "low": -0.1, "high": 2}) == "inconclusive"
    assert decided({"value": 1, "low": None, "high": None}) == "inconclusive"


def test_the_terminal_shows_finding_and_first_table() -> None:
    from rich.console import Console

    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(headline(study()))
    assert "1,234" in captured.get()
    assert HOSTILE in captured.get()
