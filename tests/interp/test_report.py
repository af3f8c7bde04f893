"""The page: self-contained, escaped, complete, and honest about what the numbers say."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from finetune.common.errors import InputError
from interp.reports.pages import sentences as wording
from interp.reports.pages.command import main
from interp.reports.pages.fact_table import read_verdicts
from interp.reports.pages.render import left_out_table
from interp.reports.pages.report import (
    CHARTS,
    draw,
    headline_table,
    report,
    write_figures,
)
from interp.reports.pages.run_study import specific_numbers
from interp.reports.read.run import NotMeasured, Run

from .run_directory_fixture import DOLLARS, HOSTILE, TRAINED, make_run


class Page(HTMLParser):
    """Collect a page's elements, its addresses, and the text outside scripts and styles."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.addresses: list[str] = []
        self.text = ""
        self.raw = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.raw += tag in ("script", "style")
        names = ("src", "href", "xlink:href", "action", "srcset", "poster", "data")
        self.addresses += [attributes[name] for name in names if attributes.get(name)]

    def handle_endtag(self, tag):
        self.raw -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.raw:
            self.text += data


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = make_run(tmp_path_factory.mktemp("trained"))
    report(path)
    return path


@pytest.fixture(scope="module")
def html(trained) -> str:
    return (trained / "report.html").read_text(encoding="utf-8")


def changed(path: Path, value: float, low: float, high: float) -> Run:
    """Load a run after putting another contrast into its results."""
    held = json.loads((path / "results.json").read_text())
    held["contrasts"]["top_minus_bottom"]["accuracy_known"] = {
        "value": value,
        "low": low,
        "high": high,
        "n": 82,
    }
    (path / "results.json").write_text(json.dumps(held))
    return Run.load(path)


def test_the_page_refers_to_nothing_outside_itself(html):
    page = Page(html)
    assert page.addresses
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    own_style = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert "@import" not in own_style
    assert not re.search(r"url\((?!#|['\"]?data:)", own_style)


def test_hostile_names_and_tokens_stay_text(html):
    page = Page(html)
    assert not any(tag in ("img", "iframe", "object") for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.text
    assert DOLLARS in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == html.count("</script>") == 3


def test_ids_are_unique_and_links_lead_somewhere(html):
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(ids)


def test_one_bundle_and_a_small_page(html):
    assert [a["id"] for _, a in Page(html).tags if a.get("type") == "text/plain"] == ["circuits-bundle"]
    assert len(html.encode()) < 1_500_000


def test_every_number_of_the_headline_is_on_the_page(trained, html):
    text = Page(html).text
    results = json.loads((trained / "results.json").read_text())
    for arm in TRAINED:
        assert f"{100 * results['arms'][arm]['accuracy_known']['value']:.1f}" in text
        assert f"{results['arms'][arm]['subject_attention']['value']:.3f}" in text
    for name in ("pattern_only", "placebo"):
        assert f"{100 * results['recovery'][name]['value']:.1f}%" in text
    for held in ("sha256 abab", "torch 2.13.0", "python analyses/attention_imbalance.py --out runs/made_up"):
        assert held in text


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict", "words"),
    [
        (0.062, 0.021, 0.103, "yes, in this world", "6.2 percentage points more"),
        (-0.062, -0.103, -0.021, "no, the opposite in this world", "6.2 percentage points fewer"),
        (0.012, -0.031, 0.055, "cannot tell in this world", "does not settle its sign"),
        (0.012, 0.0, 0.055, "cannot tell in this world", "does not settle its sign"),
        (0.012, None, None, "cannot tell in this world", "no interval"),
    ],
)
def test_the_verdict_follows_the_interval(tmp_path, value, low, high, verdict, words):
    answer = wording.answer(changed(make_run(tmp_path, n_facts=16), value, low, high))
    assert answer.verdict == verdict
    assert words in answer.sentences[0]
    assert "82" in answer.sentences[0]


def test_several_seeds_are_named_as_what_the_interval_is_over(tmp_path):
    run = Run.load(make_run(tmp_path, seeds=(0, 1, 2), n_facts=40))
    sentence = wording.answer(run).sentences[0]
    assert "over 3 training seeds" in sentence
    assert not any("One training seed" in s for s in wording.answer(run).sentences)


def test_own_checkpoints_get_a_page_without_the_missing_parts(tmp_path):
    make_run(tmp_path, arms=("base", "mine", HOSTILE))
    drawn = draw(tmp_path)
    written = write_figures(tmp_path, drawn=drawn)
    assert {p.name for p in written} == {
        f"{name}.{kind}"
        for name in ("contrasts", "attention_by_head", "fact_attention")
        for kind in ("svg", "png")
    }
    page = Page(report(tmp_path, drawn=drawn).read_text(encoding="utf-8"))
    assert "mine against base" in page.text
    assert not any(tag == "img" for tag, _ in page.tags)
    assert "Recovery by transplant is left out" in page.text
    assert "popular half" not in page.text


def test_figures_and_page_share_what_was_drawn(trained, html, monkeypatch):
    drawn = draw(trained)
    monkeypatch.setattr(sys.modules[draw.__module__], "draw", None)  # a second drawing would fail
    written = write_figures(trained, drawn=drawn)
    assert {p.stem for p in written} == {n for n, f in drawn.items() if not isinstance(f, NotMeasured)}
    assert report(trained, drawn=drawn).read_text(encoding="utf-8") == html


def test_optional_files_may_be_absent_or_empty(tmp_path):
    make_run(tmp_path, n_facts=16)
    (tmp_path / "attention.json").unlink()
    (tmp_path / "example.json").write_text("null\n")
    page = Page(report(tmp_path).read_text(encoding="utf-8"))
    assert "no attention.json" in page.text
    assert "no example.json" in page.text


def test_a_sparse_manifest_and_nothing_measured_still_make_a_page(tmp_path):
    make_run(tmp_path, arms=("base", "mine"), n_facts=8)
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    held = {"arms": {"base": {"accuracy": nothing}}, "contrasts": {}, "recovery": {}, "seeds": {}}
    (tmp_path / "results.json").write_text(json.dumps(held))
    (tmp_path / "manifest.json").write_text("{}")
    assert "not measured" in Page(report(tmp_path).read_text(encoding="utf-8")).text


def test_verdicts_of_another_run_are_joined_or_refused(tmp_path):
    run = Run.load(make_run(tmp_path / "run", n_facts=16))
    judged = run.facts[run.facts["arm"] == "bottom"]
    judged = judged.assign(verdict="suppressed, intact")[["seed", "arm", "fact_id", "answer", "verdict"]]
    (tmp_path / "verdicts").mkdir()
    with pytest.raises(InputError, match=r"holds no facts\.parquet"):
        read_verdicts(tmp_path / "verdicts", run.facts)
    run.facts.to_parquet(tmp_path / "verdicts" / "facts.parquet")
    with pytest.raises(InputError, match="holds no verdicts"):
        read_verdicts(tmp_path / "verdicts", run.facts)
    judged.assign(fact_id="other").to_parquet(tmp_path / "verdicts" / "facts.parquet")
    with pytest.raises(InputError, match="judges other facts"):
        read_verdicts(tmp_path / "verdicts", run.facts)
    judged.to_parquet(tmp_path / "verdicts" / "facts.parquet")
    drawn = {name: NotMeasured("left out") for name in CHARTS}
    text = report(run, drawn=drawn, verdicts=tmp_path / "verdicts").read_text(encoding="utf-8")
    assert '"title":"Verdict"' in text
    assert '"suppressed, intact"' in text


def test_what_was_left_out_is_counted_by_reason(trained):
    rows = left_out_table(Run.load(trained).manifest["left_out"]).rows
    assert [count for _, count, _ in rows] == [12, 1]
    assert rows[0][2] == "facts.csv line 0; facts.csv line 1; facts.csv line 2"


def test_the_terminal_gets_the_same_numbers_in_eighty_columns(trained):
    console = Console(file=io.StringIO(), width=80)
    console.print(headline_table(trained))
    text = console.file.getvalue()
    results = json.loads((trained / "results.json").read_text())
    assert f"{100 * results['arms']['top']['accuracy']['value']:.1f} (" in text
    assert "top \u2212 bottom" in text
    assert "…" not in text


def test_the_command_writes_figures_and_page_and_reports_a_mistake(trained, tmp_path, capsys):
    assert main([str(trained)]) == 0
    assert (trained / "figures" / "recovery.png").is_file()
    for wrong, words in ((tmp_path / "absent", "no directory"), (tmp_path, "is no finished run")):
        assert main([str(wrong)]) == 2
        assert words in capsys.readouterr().err.replace("\n", " ")
    (tmp_path / "report.html").touch()  # what is left of a study that kept no data
    assert main([str(tmp_path)]) == 2
    assert "holds no study.json" in capsys.readouterr().err


def test_help_is_quick_and_the_report_needs_no_torch(trained):
    code = (
        "import sys; from interp.report import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "slow = {'torch', 'pandas', 'matplotlib'} & set(sys.modules); assert not slow, slow\n"
        "from interp.reports.pages.report import report\n"
        f"report({str(trained)!r}); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr


def test_generic_answers_stand_beside_accuracy_where_they_were_measured(tmp_path):
    path = make_run(tmp_path, n_facts=8)
    results = json.loads((path / "results.json").read_text())
    measured = {"accuracy_uncommon_known": 0.144, "modal_share": 0.84, "answer_information": 0.316}
    measured |= {"exact_disagrees": 0.125, "contains_disagrees": 0.05}
    for arm in results["arms"].values():
        arm.update({k: {"value": v, "low": v - 0.1, "high": v + 0.1, "n": 8} for k, v in measured.items()})
    (path / "results.json").write_text(json.dumps(results))
    run = Run.load(path)
    (table,) = specific_numbers(run)
    assert [str(cell).split(" ")[0] for cell in table.rows[0][1:]] == ["14.4", "84.0", "0.316", "12.5", "5.0"]
    undrawn = {name: NotMeasured("left out") for name in CHARTS}
    page = report(path, drawn=undrawn).read_text()
    assert "Modal answer" in page
    assert "0.316" in page
    assert "14.4%, 84.0%" in str(headline_table(run).caption)
    assert not specific_numbers(Run.load(make_run(tmp_path / "older", n_facts=8)))
