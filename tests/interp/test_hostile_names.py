"""Hostile names of runs, arms, facts, relations and settings: pages and tables show them as text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from analyses import findings, paper_table
from interp.reports.pages.command import main
from interp.reports.pages.compare import compare
from interp.reports.pages.report import report
from interp.reports.pages.study import decide_claim
from interp.reports.pages.study_files import write_claims

from .browser import browser, needs_browser, opened  # noqa: F401 (a fixture)
from .run_directory_fixture import make_run

NAMES = (
    "<img src=x onerror='hacked = 1'>",
    '"><script>hacked = 1<\\script>',
    "[a](javascript:hacked=1)|`b`<!--",
    "=HYPERLINK(1) \x1b[31m\x1b]0;title\x07 $x_{1$ {{ 7*7 }} {: onclick=x }",
    "__proto__",
)  # no slash: they are names of directories too


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("hostile")
    made = []
    for i, name in enumerate(NAMES[:2]):
        run = make_run(root / name, arms=("base", *NAMES), n_facts=60)
        facts = pd.read_parquet(run / "facts.parquet")
        facts["relation"] = [NAMES[k % len(NAMES)] for k in range(len(facts))]
        facts["answer"] = facts["prediction"] = NAMES[3]
        facts["fact_id"] = facts["fact_id"].replace({"w5": NAMES[0], "w6": NAMES[2]})
        facts.to_parquet(run / "facts.parquet")
        manifest = json.loads((run / "manifest.json").read_text())
        manifest |= {
            "setting": NAMES[i],
            "command": f"python {NAMES[0]}",
            "config": {NAMES[0]: NAMES[1], "i": i},
        }
        manifest |= {"left_out": [{"where": each, "reason": each} for each in NAMES]}
        (run / "manifest.json").write_text(json.dumps(manifest))
        number = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 3}
        write_claims(run, [decide_claim(n, n, number, unit=n) for n in NAMES])
        made.append(run)
    return made


@needs_browser
@pytest.mark.parametrize("kind", ["report", "compare"])
def test_no_page_runs_or_asks_for_what_a_name_says(browser, runs, kind, tmp_path):  # noqa: F811
    path = report(runs[0]) if kind == "report" else compare(runs, tmp_path / "compare.html")
    with opened(browser, path) as page:
        if kind == "report":
            page.wait_for_selector("#fact-table tbody tr")
            page.locator("button.fact").nth(5).click()
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.images.length") == 0
        assert page.locator("iframe, object, embed, [onerror], [onclick], a[href^=javascript]").count() == 0
        theirs = "[...document.scripts].filter(s => !s.type && s.text.includes('hacked')).length"
        assert page.evaluate(theirs) == 0
        assert NAMES[0] in page.evaluate("document.body.textContent")
        assert "49" not in page.title()


def test_a_terminal_is_sent_no_escapes_of_a_name(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(runs[0])]) == 0
    said = capsys.readouterr().out
    assert NAMES[0] in said
    assert "\x1b" not in said
    assert "\x07" not in said


def test_tables_and_findings_of_hostile_runs_are_markdown_of_texts(
    runs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    markdown = pytest.importorskip("markdown", reason="pip install mkdocs")
    for script, out in ((findings, "findings.md"), (paper_table, "table.md")):
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, runs), "--out", str(tmp_path / out)])
        status, said = script.main(), capsys.readouterr()
        assert status == 0, said.err
        assert "\x1b" not in said.out + said.err
        text = (tmp_path / out).read_text()
        extensions = ["admonition", "attr_list", "tables", "toc", "pymdownx.superfences"]
        html = markdown.markdown(text, extensions=extensions)
        for sign in ("<img", "<script", "onclick=", 'href="javascript', "\x1b"):
            assert sign not in html.replace("{: onclick=", ""), (script, sign)
        assert html.count("<table>") >= 1
        assert "&lt;img src=x" in html
    cells = pd.read_csv(tmp_path / "table.csv")
    texts = cells.select_dtypes(include=["object", "string"])
    assert not texts.map(lambda cell: str(cell).startswith(("=", "+", "@", "-"))).to_numpy().any()
