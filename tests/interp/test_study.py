"""The page of any study: what it says, that nothing of it runs or is fetched, and how numbers are written."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finetune.common.errors import InputError
from interp.reports.figures.style import INK, new_figure
from interp.reports.figures.svg import inline_file
from interp.reports.pages.command import main
from interp.reports.pages.render import write_cell
from interp.reports.pages.sentences import run_words
from interp.reports.pages.study import (
    Study,
    StudyFigure,
    StudyTable,
    claim_sentence,
    decide,
    decide_claim,
    format_cell,
    format_interval,
)
from interp.reports.pages.study_files import load_study
from interp.reports.pages.study_page import headline, rebuild, write_study

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


def test_the_page_is_made_again_from_what_the_run_directory_keeps(run: Path) -> None:
    odd = StudyTable(title="odd", columns=("a", "b"), rows=((np.int64(1234), np.float64("nan")),))
    written = replace(study(), tables=(odd,), claims=(decide_claim("x", "y", _number(1, 0.5, 1.5)),))
    text = write_study(run, written).read_text()
    assert "1,234" in text
    (run / "report.html").unlink()
    assert main([str(run)]) == 0
    assert (run / "report.html").read_text() == text
    held = load_study(run)
    assert held.claims == written.claims
    assert (held.title, held.notes, held.finding) == (written.title, written.notes, written.finding)


def test_a_study_that_was_tampered_with_stays_text_or_is_refused(run: Path) -> None:
    write_study(run, study())
    figure = run / "figures" / "line.svg"
    drawn = figure.read_text()
    bad = (
        '<script>alert(1)</script><foreignObject><img src="x"/></foreignObject><a href="javascript:alert(1)">'
        '<rect onclick="alert(1)" style="fill:url(https://example.org/x)"/></a>'
        '<image href="https://example.org/x.png"/><use href="https://example.org/x#y"/></svg>'
    )
    figure.write_text(drawn.replace("</svg>", bad))
    text = rebuild(run).read_text()
    assert not re.search(
        r"alert|example\.org|<img|foreignObject|javascript", text.replace(html.escape(HOSTILE), "")
    )
    figure.write_text("<svg")
    with pytest.raises(InputError, match="cannot be read as an SVG"):
        rebuild(run)
    figure.write_text(drawn)
    for wrong in ('{"version": 1}', "{", '{"version": 99, "outcome": "measured"}'):
        (run / "study.json").write_text(wrong)
        with pytest.raises(InputError, match=r"study\.json"):
            rebuild(run)


def test_a_figure_is_named_by_a_file_name_alone(run: Path) -> None:
    write_study(run, study())
    held = json.loads((run / "study.json").read_text())
    held["figures"][0]["name"] = "../secret"
    (run / "study.json").write_text(json.dumps(held))
    with pytest.raises(InputError, match="names no figure"):
        load_study(run)


def test_an_inlined_figure_has_the_page_s_ink_and_no_paper(run: Path) -> None:
    written = study()
    written.figures[0].figure.text(0.5, 0.5, "words", color=INK)
    write_study(run, written)
    svg = inline_file(run / "figures" / "line.svg", "one")
    assert "currentColor" in svg
    assert "#ffffff" not in svg
    ids = re.findall(r' id="([^"]+)"', svg)
    assert ids
    assert all(name.startswith("one-") for name in ids)
    assert {name[1:] for name in re.findall(r'href="([^"]+)"', svg)} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(ids)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        write_study(tmp_path, study())


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        StudyTable(title="t", columns=("a", "b"), rows=(("x",),))


def test_numbers_are_written_with_their_interval() -> None:
    assert format_interval(0.815, 0.796, 0.834, unit="%") == "81.5% (79.6 to 83.4)"
    assert format_interval(-0.1, -0.25, 0.05, digits=2, signed=True) == "−0.10 (−0.25 to +0.05)"
    assert format_interval(0.5, None, None, digits=2) == "0.50"
    assert format_interval(None, None, None) == format_interval(math.nan, 0, 1) == "not measured"


def test_numbers_bear_no_sign_of_nothing_and_cells_are_of_their_kind() -> None:
    assert format_interval(-0.0001, -0.01, 0.01, unit="%", signed=True) == "0.0% (−1.0 to +1.0)"
    assert format_interval(-0.0001, -0.01, 0.01, digits=2) == "0.00 (−0.01 to 0.01)"
    cells = (1234.5, 1e6, np.int64(1234567), True, np.float64("nan"), 0.000012, -0.5)
    told = ("1,234", "1,000,000", "1,234,567", "yes", "not measured", "1.2e−05", "−0.5")
    assert tuple(map(format_cell, cells)) == told
    table = StudyTable(title="t", columns=("a", "b"), rows=(("x", "-0.50"), ("y", "−1.5")))
    assert table.right == (False, True)


def test_names_read_from_right_to_left_turn_nothing_round() -> None:
    name = "محمد الفارسي"
    assert write_cell(f"{name}: 3 of 22") == f"<bdi>{name}</bdi>: 3 of 22"
    assert write_cell(f"{name} & <{name}>") == f"<bdi>{name}</bdi> &amp; &lt;<bdi>{name}</bdi>&gt;"
    assert write_cell("Lodz: 3") == "Lodz: 3"


def test_the_paper_is_named_where_claims_are_its_own(run: Path) -> None:
    claim = decide_claim("x grows", "paper, claim 4", _number(1, 0.5, 1.5))
    assert "Ghosal" in write_study(run, replace(study(), claims=(claim,))).read_text()
    assert "Ghosal" not in write_study(run, study()).read_text()


def test_an_interval_decides() -> None:
    assert decide({"value": 1, "low": 0.1, "high": 2}) == "supported"
    assert decide({"value": -1, "low": -2, "high": -0.1}) == "not supported"
    assert decide({"value": 1, "low": -0.1, "high": 2}) == "inconclusive"
    assert decide({"value": 1, "low": None, "high": None}) == "inconclusive"


def test_the_terminal_shows_finding_and_first_table() -> None:
    from rich.console import Console

    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(headline(study()))
    assert "1,234" in captured.get()
    assert HOSTILE in captured.get()


def _number(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "n": 3}


@pytest.mark.parametrize(
    ("number", "options", "measured", "outcome"),
    [
        (
            _number(0.153, 0.057, 0.248),
            {"unit": "points"},
            "+15.3 (+5.7 to +24.8) points, n = 3",
            "supported",
        ),
        (_number(-0.2, -0.4, -0.1), {"digits": 2}, "−0.20 (−0.40 to −0.10), n = 3", "not supported"),
        (_number(0.3, 0.2, 0.4), {"unit": "%", "above": 0.25}, "30.0 (20.0 to 40.0)%, n = 3", "inconclusive"),
        (
            _number(0.81, 0.7, 0.9),
            {"unit": "AUROC", "above": 0.5},
            "0.8 (0.7 to 0.9) AUROC, n = 3",
            "supported",
        ),
        (_number(0.4), {"unit": "points"}, "+40.0 points, n = 3", "inconclusive"),
        (_number(None), {"unit": "points"}, "not measured", "not measured"),
    ],
)
def test_a_number_decides_a_claim_by_its_whole_interval(
    number: dict, options: dict, measured: str, outcome: str
) -> None:
    claim = decide_claim("x grows", "theory", number, **options)
    assert (claim.measured, claim.outcome) == (measured, outcome)


def test_the_finding_is_the_first_claim_and_a_count_of_the_others() -> None:
    yes, no = (
        decide_claim("x grows", "theory", _number(1, 0.5, 1.5)),
        decide_claim("y", "", _number(-1, -2, -0.5)),
    )
    assert claim_sentence((yes,)) == "Supported: x grows (+1.0 (+0.5 to +1.5), n = 3)."
    assert claim_sentence((yes, no, no, yes)).endswith("; of 3 further claims 1 supported, 2 not supported.")


@pytest.mark.parametrize(
    ("names", "elsewhere", "told"),
    [
        (("rows",), "", "Every number on this page can be recomputed from rows.parquet of its run; "),
        (
            ("scores", "more"),
            "table 2",
            "Every number on this page, but for table 2, can be recomputed from more.parquet and scores.",
        ),
        ((), "", "The headline numbers of this page are in results.json of its run."),
    ],
)
def test_the_foot_names_the_files_that_are_there(
    names: tuple[str, ...], elsewhere: str, told: str, run: Path
) -> None:
    for name in names:
        (run / f"{name}.parquet").touch()
    text = write_study(run, replace(study(), elsewhere=elsewhere)).read_text()
    foot = re.sub("<[^>]*>", "", text[text.index("<footer>") :])
    assert foot.startswith(told)
    assert load_study(run).elsewhere == elsewhere


@pytest.mark.parametrize("definitions", [(), (("Known to the base", "as this run asks it"),)])
def test_terms_are_defined_on_the_spot_and_links_lead_somewhere(definitions: tuple, run: Path) -> None:
    words = " ".join(run_words()["terms"])
    text = write_study(run, replace(study(), finding=words, definitions=definitions)).read_text()
    assert text.count("popovertarget=") == len(run_words()["terms"])
    assert "see Definitions" not in text
    places = set(re.findall(r'id="([^"]+)"', text))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= places
    assert set(re.findall(r'popovertarget="([^"]+)"', text)) <= places
    assert ('href="#definitions"' in text) == bool(definitions)


def test_what_was_not_measured_is_called_so_in_runs_of_before_too(run: Path) -> None:
    claim = decide_claim("x grows", "theory", _number(None))
    write_study(run, replace(study(), claims=(claim,)))
    held = json.loads((run / "study.json").read_text())
    held["claims"][0]["outcome"] = "inconclusive"
    (run / "study.json").write_text(json.dumps(held))
    assert load_study(run).claims == (claim,)
    text = rebuild(run).read_text()
    row = text[text.index('<th scope="row">x grows') :].partition("</tr>")[0]
    assert "inconclusive" not in row
    assert row.count("not measured") == 2
    assert claim_sentence((claim,)) == "Not measured: x grows."


def test_claims_are_written_and_stand_on_the_page_before_the_tables(run: Path) -> None:
    claims = (decide_claim(HOSTILE, HOSTILE, _number(1, 0.5, 1.5)),)
    text = write_study(run, replace(study(), claims=claims)).read_text()
    (written,) = json.loads((run / "claims.json").read_text())
    assert written["claim"] == HOSTILE
    assert written["number"]["value"] == 1
    assert written["measured"] == "+1.0 (+0.5 to +1.5), n = 3"
    assert text.index("<h3>Claims</h3>") < text.index("<h3>&lt;/script&gt;")
    assert "<img" not in text
