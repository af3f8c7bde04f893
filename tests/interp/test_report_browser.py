"""Pages in a real browser: they draw, sort, search, open facts, print, and ask no network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from interp.reports.figures.heatmaps import fact_attention
from interp.reports.figures.style import new_figure, save
from interp.reports.pages.compare import compare
from interp.reports.pages.report import CHARTS, report
from interp.reports.pages.study import Study, StudyFigure, StudyTable, decide_claim
from interp.reports.pages.study_page import write_study
from interp.reports.read.run import NotMeasured, Run

from .browser import browser, needs_browser, opened  # noqa: F401 (a fixture)
from .run_directory_fixture import HOSTILE, TRAINED, make_run

pytestmark = needs_browser
KINDS = ("report", "study", "compare")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Make a run with verdicts and two kept facts, a study of verdicts, and a comparison of two runs."""
    root = tmp_path_factory.mktemp("pages")
    run = make_run(root / "run", n_facts=120)
    one = json.loads((run / "example.json").read_text(encoding="utf-8"))
    several = [one, {**one, "fact_id": "w7"}]
    (run / "examples.json").write_text(json.dumps(several, ensure_ascii=False), encoding="utf-8")
    judged = make_study(root / "study", run)
    other = make_run(root / ("checkpoint-" + "x" * 60), n_facts=120)
    save(line(), run / "figures" / "line")
    drawn = {name: NotMeasured("left out") for name in CHARTS} | {"fact_attention": fact_attention(run)}
    return {
        "report": report(Run.load(run), drawn=drawn, verdicts=judged.parent),
        "study": judged,
        "compare": compare([run, other], root / "compare.html"),
    }


def make_study(path: Path, run: Path) -> Path:
    """Write the page of a study of verdicts on a run's facts."""
    import pandas as pd

    path.mkdir()
    facts = pd.read_parquet(run / "facts.parquet").query("arm != 'base'")
    verdicts = facts["correct"].map({True: "retained", False: "suppressed, intact"})
    names = {"prediction": "said", "correct": "right", "known": "base_knew", "subject_attention": "attention"}
    facts = facts.rename(columns=names).assign(verdict=verdicts, index=1.0, other="top", base_said=HOSTILE)
    facts.assign(attention_other=0.5).to_parquet(path / "facts.parquet")
    rows = {"top": [0.75, 0.25], "bottom": [0.5, 0.5]}
    kept = {"fact_id": "w3", "tokens": [HOSTILE, "is"], "subject": [True, False], "rows": rows}
    (path / "pictures.json").write_text(json.dumps({"bottom": [kept]}))
    manifest = {"command": HOSTILE, "left_out": [{"where": HOSTILE, "reason": HOSTILE}], "config": {"a": 1}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    number = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 3}
    table = StudyTable(title=HOSTILE, columns=("Arm", "Facts"), rows=((HOSTILE, 1234), ("b", None)), note="n")
    study = Study(
        title="Trial",
        question=HOSTILE,
        finding=HOSTILE,
        outcome="measured",
        tables=(table,),
        claims=(decide_claim(HOSTILE, "theory", number),),
        figures=(StudyFigure(name="line", figure=line(), caption=HOSTILE),),
        notes=(HOSTILE,),
    )
    return write_study(path, study)


def line() -> Figure:
    """Draw something."""
    figure = new_figure(width=6, height=2)
    figure.subplots().plot([0, 1], [1, 0])
    return figure


def rows(page: Any) -> list[list[str]]:
    """Read the cells of the rows that the table shows."""
    return page.eval_on_selector_all(
        "#fact-table tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )


def column(page: Any, title: str) -> int:
    """Find a column of the table by its title."""
    return page.locator("#fact-table thead th").all_inner_texts().index(title)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_draws_without_complaint_and_hostile_words_stay_text(browser, pages, kind):  # noqa: F811
    with opened(browser, pages[kind]) as page:
        if kind != "compare":
            page.wait_for_selector("#fact-table tbody tr")
        assert page.evaluate("document.images.length") == 0
        assert page.locator("svg").count() >= 1
        assert page.locator("iframe, object, embed, [onerror], [onclick]").count() == 0
        assert HOSTILE in page.evaluate("document.body.innerText") or kind == "compare"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [360, 768, 1600])
def test_no_width_scrolls_the_page_sideways(browser, pages, kind, width):  # noqa: F811
    with opened(browser, pages[kind], viewport={"width": width, "height": 800}) as page:
        page.wait_for_timeout(200)
        assert (
            page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        )


def test_the_table_sorts_up_and_down_and_says_so(browser, pages):  # noqa: F811
    with opened(browser, pages["report"]) as page:
        at = column(page, "Popularity")
        button = page.locator("#fact-table thead th").nth(at).locator("button")
        for direction, order in (("ascending", 1), ("descending", -1)):
            button.click()
            head = page.locator("#fact-table thead th").nth(at)
            assert head.get_attribute("aria-sort") == direction
            assert (
                page.evaluate("document.activeElement.parentElement.getAttribute('aria-sort')") == direction
            )
            shown = [float(row[at].replace(",", "")) for row in rows(page)]
            assert shown == sorted(shown, reverse=order < 0)
            button = head.locator("button")
        assert page.locator("[aria-sort=ascending], [aria-sort=descending]").count() == 1


def test_search_and_filters_leave_what_fits(browser, pages):  # noqa: F811
    with opened(browser, pages["report"]) as page:
        status = page.locator("#shown")
        assert status.inner_text() == "120 of 120 facts"
        page.fill("#search", "東京")
        assert status.inner_text() == "1 of 120 facts"
        assert rows(page)[0][0].startswith("東京タワー")
        page.fill("#search", "no such words")
        assert (rows(page), page.locator("#place").inner_text()) == ([], "no fact fits")
        page.click("#reset")
        page.select_option("#filters label:has-text('Verdict') select", "suppressed, intact")
        page.select_option("#filters label:has-text('Relation') select", "born in")
        at, relation, said = (column(page, name) for name in ("Verdict", "Relation", "bottom says"))
        found = rows(page)
        assert found
        assert {(row[at], row[relation]) for row in found} == {("suppressed, intact", "born in")}
        assert all(row[said].startswith("✗") for row in found)
        page.select_option("#arm", "0")
        assert "top says" in page.locator("#fact-table thead").inner_text()
        assert {row[at] for row in rows(page)} <= {"suppressed, intact"}


def test_the_pages_of_the_table_turn(browser, pages):  # noqa: F811
    with opened(browser, pages["report"]) as page:
        first = rows(page)
        assert page.locator("#previous").is_disabled()
        seen = list(first)
        while page.locator("#next").is_enabled():
            page.click("#next")
            seen += rows(page)
        assert len(seen) == 120
        assert page.locator("#place").inner_text() == "101–120 of 120"


def test_the_keyboard_opens_a_fact_with_its_attention_and_closes_it(browser, pages):  # noqa: F811
    with opened(browser, pages["report"]) as page:
        page.check("#kept")
        assert page.locator("#shown").inner_text() == "2 of 120 facts"
        page.focus("#fact-table button.fact >> nth=0")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        page.wait_for_selector("#fact[open] .circuit canvas")
        assert page.locator("#fact .side").count() == 2
        assert [s.input_value() for s in page.locator("#fact .side select").all()] == ["base", "bottom"]
        assert page.locator("#fact tbody tr").count() == len(TRAINED)
        page.locator("#fact [data-head='1']").first.focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.images.length") == 0
        page.keyboard.press("Escape")
        assert not page.locator("#fact").is_visible()
        assert page.evaluate("document.activeElement.className") == "fact"


def test_a_click_on_any_cell_opens_a_fact_and_says_how_to_see_its_attention(browser, pages):  # noqa: F811
    with opened(browser, pages["report"]) as page:
        page.locator("#fact-table tbody tr").nth(4).locator("td").nth(1).click()
        text = page.locator("#fact").inner_text()
        (identity,) = set(re.findall(r"\bw\d+\b", text))
        assert f'Fact(id="{identity}"' in text
        compile(page.locator("#fact pre").inner_text(), "snippet", "exec")
        page.click("#close")
        assert not page.locator("#fact").is_visible()
        page.locator("button[data-fact]").nth(1).click()
        page.wait_for_selector("#fact[open] .circuit canvas")


def test_a_study_shows_last_rows_where_it_kept_no_more(browser, pages):  # noqa: F811
    with opened(browser, pages["study"]) as page:
        page.fill("#search", "w3")
        page.check("#kept")
        page.locator("button.fact").first.click()
        assert page.locator("#fact .looks").count() == 2
        assert "top: mean of all heads; on the subject 0.750" in page.locator("#fact").inner_text()


AUDIT = Path(__file__).with_name("audit.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_by_everybody(browser, pages, kind, scheme):  # noqa: F811
    with opened(browser, pages[kind], color_scheme=scheme, reduced_motion="reduce") as page:
        if kind != "compare":
            page.wait_for_selector("#fact-table tbody tr")
            page.locator("button.fact").nth(2).click()
        assert page.evaluate(AUDIT) == []
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 150) == (scheme == "dark")


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(browser, pages, kind):  # noqa: F811
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    with opened(browser, pages[kind]) as page:
        if kind != "compare":
            page.wait_for_selector("#fact-table tbody tr")
        found = axe.Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"][:100] for node in each["nodes"]]) for each in found] == []


def test_the_first_tab_leads_past_the_head_and_focus_is_seen(browser, pages):  # noqa: F811
    with opened(browser, pages["report"]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert page.locator(".skip").bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("kind", KINDS)
def test_it_prints_in_light_colours_without_its_controls(browser, pages, kind, tmp_path):  # noqa: F811
    with opened(browser, pages[kind], color_scheme="dark") as page:
        if kind != "compare":
            page.wait_for_selector("#fact-table tbody tr")
        page.pdf(path=tmp_path / "page.pdf", format="A4")
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator(".controls:visible, nav:visible, dialog:visible, .skip:visible").count() == 0
        if kind != "compare":
            assert page.locator("text=In print the table ends").is_visible()
        # A4 less its margins: nothing may be cut off at the right.
        page.set_viewport_size({"width": 680, "height": 1000})
        wide = page.evaluate(
            "[...document.querySelectorAll('table, svg, pre')]"
            ".filter(e => e.getBoundingClientRect().right > 681).map(e => e.outerHTML.slice(0, 80))"
        )
        assert wide == []
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")
