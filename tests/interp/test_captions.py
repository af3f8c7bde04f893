"""The words of a page turn with its numbers: worlds of opposite outcomes are told in opposite words."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from interp.reports.pages.report import CHARTS, report
from interp.reports.pages.run_study import run_study
from interp.reports.pages.sentences import run_words
from interp.reports.read.run import Run

from .run_directory_fixture import TRAINED, make_run

Number = dict[str, Any]


def number(value: float, half: float = 0.05) -> Number:
    return {"value": value, "low": value - half, "high": value + half, "n": 90}


def arm(accuracy: float, *, rare: float, stored: float, used: float, lost: float) -> dict[str, Any]:
    return {
        "accuracy": number(accuracy),
        "accuracy_known": number(accuracy),
        "accuracy_by_quartile": {
            q: number(accuracy if q != "q4" else rare) for q in ("q1", "q2", "q3", "q4")
        },
        "subject_attention": number(0.3, 0.01),
        "knockout_subject": number(lost),
        "readout_stored": number(stored),
        "readout_used": number(used),
    }


def world(path: Path, sign: int, *, config: dict[str, Any] | None = None) -> Path:
    """Write a run in which the popular half does clearly better (1), clearly worse (-1), or neither (0)."""
    make_run(path, n_facts=16)
    held = json.loads((path / "results.json").read_text())
    fine = arm(0.8, rare=0.8, stored=0.8, used=0.7, lost=3.0)
    poor = arm(0.8, rare=0.4, stored=0.8, used=0.2, lost=0.5)
    base = arm(0.8, rare=0.8, stored=0.8, used=0.7, lost=3.0)
    top, bottom = {1: (fine, poor), -1: (poor, fine), 0: (fine, fine)}[sign]
    held["arms"] |= {"base": base, "top": top, "bottom": bottom, "random": fine, "whole": fine}
    for gaps in held["contrasts"].values():
        gaps |= {"accuracy": number(0), "accuracy_known": number(0), "subject_attention": number(0)}
    held["contrasts"]["top_minus_bottom"] = {
        name: number(sign * size)
        for name, size in {"accuracy": 0.2, "accuracy_known": 0.3, "subject_attention": 0.2}.items()
    }
    held["recovery"] = {
        "pattern_only": number(0.4 + 0.2 * sign),
        "placebo": number(0.4),
        "difference": number(0.2 * sign),
    }
    (path / "results.json").write_text(json.dumps(held))
    maps = {name: [[0.5 + 0.2 * sign * (name != "base")] * 4] * 2 for name in TRAINED}
    spans = {
        key: {name: [[cell + by for cell in row] for row in rows] for name, rows in maps.items()}
        for key, by in (("low", -0.05), ("high", 0.05))
    }
    attention = {"n_layers": 2, "n_heads": 4, "n": 16, "arms": maps, **spans}
    (path / "attention.json").write_text(json.dumps(attention))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "config": config or {}}))
    return path


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Render the page of each world."""
    worlds = {sign: world(tmp_path_factory.mktemp("world") / "run", sign) for sign in (1, -1, 0)}
    return {sign: report(run).read_text(encoding="utf-8") for sign, run in worlds.items()}


@pytest.fixture(scope="module")
def pages(rendered: dict[int, str]) -> dict[int, str]:
    """Return each page's text without tags."""
    found = {}
    for sign, html in rendered.items():
        body = html.split("<body>")[1]
        body = re.sub(r"<(script|svg).*?</\1>", "", body, flags=re.S)
        found[sign] = " ".join(unescape(re.sub(r"<[^>]+>", "", body)).split())
    return found


TURNING: dict[str, tuple[str, str, str]] = {
    "answer": (
        "Popular or unpopular facts: yes, in this world",
        "Popular or unpopular facts: no, the opposite in this world",
        "Popular or unpopular facts: cannot tell in this world",
    ),
    "quarters": (
        "top lies above bottom, bars apart, in the least popular quarter.",
        "bottom lies above top, bars apart, in the least popular quarter.",
        "The bars of top and bottom overlap in every quarter.",
    ),
    "contrasts": (
        "Clear of zero: top − bottom, accuracy on known facts +30.0 (+25.0 to +35.0)",
        "Clear of zero: top − bottom, accuracy on known facts −30.0 (−35.0 to −25.0)",
        "No difference is clear of zero.",
    ),
    "recovery": (
        "bring back 20.0 points more than another subject's",
        "bring back 20.0 points fewer than another subject's",
        "Here that difference is not clear of zero",
    ),
    "heads": (
        "Attention to the subject rose, head by head",
        "Attention to the subject fell, head by head",
        "Attention to the subject did not clearly change, head by head",
    ),
    "counts": ("top 0 fell and 8 rose", "top 8 fell and 0 rose", "top none moved"),
    "used": (
        "Used, base 70.0%; clearly less: bottom 20.0%",
        "Used, base 70.0%; clearly less: top 20.0%",
        "Used, base 70.0%; not clearly apart: top 70.0%, bottom 70.0%",
    ),
    "hidden": (
        "clearly less: bottom 0.5 nats",
        "clearly less: top 0.5 nats",
        "Lost without the subject, base 3.0 nats; not clearly apart",
    ),
}


@pytest.mark.parametrize("what", TURNING)
def test_words_turn_with_the_numbers(what: str, pages: dict[int, str]) -> None:
    for sign, said in zip((1, -1, 0), TURNING[what], strict=True):
        assert said in pages[sign]
        for other in {1, -1, 0} - {sign}:
            assert said not in pages[other]


def test_no_caption_tells_what_to_look_for_or_takes_a_side(pages: dict[int, str]) -> None:
    captions = " ".join(chart["caption"] for chart in run_words()["charts"].values())
    for word in ("Look for", "all along", "lost attention", "no longer fetches", "part on the right"):
        assert word not in captions
    assert set(run_words()["charts"]) == set(CHARTS)


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        ({0}, "cannot tell"),
        ({1}, "more accurate than the base"),
        ({-1}, "less accurate than the base"),
        ({1, -1}, "some more, some less accurate than the base"),
        ({1, 0}, "some more accurate than the base, of the others it cannot tell"),
        ({-1, 0}, "some less accurate than the base, of the others it cannot tell"),
        ({1, -1, 0}, "some more, some less accurate than the base, of the others it cannot tell"),
    ],
)
def test_own_checkpoints_are_told_by_the_signs_that_are_settled(
    signs: set[int], said: str, tmp_path: Path
) -> None:
    path = make_run(tmp_path / "run", n_facts=16)
    held = json.loads((path / "results.json").read_text())
    held["contrasts"] = {
        f"arm{sign}_minus_base": {"accuracy": number(0.2 * sign), "subject_attention": number(0.1)}
        for sign in signs
    }
    (path / "results.json").write_text(json.dumps(held))
    assert run_study(Run.load(path)).outcome.startswith(f"{said}, ")


def test_an_answer_says_of_what_it_holds(tmp_path: Path) -> None:
    given = run_study(Run.load(world(tmp_path / "given", 1, config={"base": "smollm2-135m"})))
    assert given.outcome == "yes, on this model"


def test_the_base_that_is_asked_in_another_way_than_it_knows_says_so(tmp_path: Path) -> None:
    def base_row(accuracy: float) -> str:
        path = world(tmp_path / str(accuracy), 1)
        held = json.loads((path / "results.json").read_text())
        held["arms"]["base"]["accuracy_known"] = number(accuracy, 0)
        (path / "results.json").write_text(json.dumps(held))
        return str(run_study(Run.load(path)).tables[0].rows[0])

    assert "0.0 as asked here" in base_row(0.0)
    assert "as asked here" not in base_row(1.0)


@pytest.mark.parametrize("term", ["arm", "mass", "transplant", "known", "recovered", "erased", "sink"])
def test_words_open_their_definition_where_they_stand(term: str, rendered: dict[int, str]) -> None:
    html = rendered[1]
    buttons = re.findall(r'<button type="button" class="term" popovertarget="term-(\w+)">', html)
    assert len(buttons) == len(set(buttons)), "the first mention alone"
    assert term in run_words()["terms"]
    if term in buttons:
        assert f'<div popover id="term-{term}"' in html
    assert set(re.findall(r'<div popover id="term-(\w+)"', html)) == set(buttons)


def test_the_first_picture_stands_with_the_answer(rendered: dict[int, str]) -> None:
    html = rendered[1]
    assert html.index('id="answer"') < html.index("<figure") < html.index('id="numbers"')
    assert html.count('id="figure-accuracy_by_quartile"') == 1
