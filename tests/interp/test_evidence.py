"""Panels of evidence: plotted values are the files', and what was not measured is left out."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib import image

from finetune.common.errors import InputError
from interp.reports.figures import evidence
from interp.reports.figures.style import inline_svg, save
from interp.reports.pages.report import CHARTS, render_report
from interp.reports.pages.run_study import moved_heads
from interp.reports.read.run import NotMeasured, Run

from .run_directory_fixture import DOLLARS, HOSTILE, make_run
from .test_viz import errorbars

NUMBERS = {
    "knockout_subject": {"value": 1.5, "low": 1.2, "high": 1.8, "n": 40},
    "knockout_relation": {"value": None, "low": None, "high": None, "n": 0},
    "readout_stored": {"value": 0.25, "low": 0.2, "high": 0.3, "n": 40},
    "readout_used": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40},
}
UNDRAWN = {name: NotMeasured("left out") for name in CHARTS}  # for pages whose pictures do not matter
HEAD = {"change": -0.2, "low": -0.3, "high": -0.1, "p_value": 0.001, "n": 40, "after": HOSTILE}


def measured(path, **options) -> Run:
    """Make a run directory with the evidence that newer runs write."""
    make_run(path, **options)
    results = json.loads((path / "results.json").read_text())
    for i, arm in enumerate(results["arms"].values()):
        arm.update({k: {**v, "value": v["value"] and v["value"] + i / 100} for k, v in NUMBERS.items()})
    (path / "results.json").write_text(json.dumps(results))
    heads = [{**HEAD, "layer": 0, "head": h, "corrected": 0.01 * 6**h, "before": "base"} for h in range(3)]
    (path / "heads.json").write_text(json.dumps(heads))
    return Run.load(path)


def test_the_panels_plot_every_arm(tmp_path):
    run = measured(tmp_path / "run")
    stored, used = errorbars(evidence.readout(run).axes[0])
    assert stored[1] == pytest.approx([25 + i for i in range(len(run.arms))])
    assert used[2][0][:, 1] == pytest.approx([40, 60])
    hidden = errorbars(evidence.hidden(run).axes[0])
    assert hidden[0][1] == pytest.approx([1.5 + i / 100 for i in range(len(run.arms))])
    assert len(hidden) == 1, "what the architecture did not allow is not drawn"
    assert evidence.hidden(run).axes[0].get_xlabel() == "n = 40 facts"


def test_a_trajectory_runs_over_steps_from_the_base(tmp_path):
    run = measured(tmp_path / "run", arms=("base", "checkpoint-100", "checkpoint-20", "other"))
    accuracy, attention = evidence.trajectory(run).axes
    panels = {"accuracy": (accuracy, 0, 100), "accuracy_known": (accuracy, 1, 100)}
    panels["subject_attention"] = (attention, 0, 1)
    for key, (axes, line, scale) in panels.items():
        x, y, ends = errorbars(axes)[line]
        told = [run.results["arms"][a][key] for a in ("base", "checkpoint-20", "checkpoint-100")]
        assert list(x) == [0, 20, 100]
        assert y == pytest.approx([scale * e["value"] for e in told])
        assert [list(end[:, 1]) for end in ends] == [
            pytest.approx([scale * e["low"], scale * e["high"]]) for e in told
        ]


def test_one_checkpoint_makes_no_trajectory(tmp_path):
    run = measured(tmp_path / "run", arms=("base", "checkpoint-20", "mine"), n_facts=8)
    with pytest.raises(NotMeasured, match="two or more"):
        evidence.trajectory(run)


def test_moved_heads_are_listed_with_how_many_pass(tmp_path):
    run = measured(tmp_path / "run")
    heads = moved_heads(run)
    assert heads.bold == ((0, 1),), "the first head alone passes"
    assert heads.rows[0] == ("L0 H0", "−0.200 (−0.300 to −0.100)", "0.01")
    text = render_report(run)
    assert "1 of the 3 heads listed pass 5%" in text.replace("\n", " ")
    assert HOSTILE not in text


def test_heads_beyond_the_tenth_are_neither_listed_nor_counted(tmp_path):
    run = measured(tmp_path, n_facts=8)
    heads = [{**HEAD, "layer": 0, "head": h, "corrected": 0.01, "before": "base"} for h in range(20)]
    (tmp_path / "heads.json").write_text(json.dumps(heads))
    assert "10 of the 10 heads listed pass 5%" in render_report(run, drawn=UNDRAWN).replace("\n", " ")


def test_a_change_that_rounds_to_nothing_has_no_sign(tmp_path):
    run = measured(tmp_path, n_facts=8)
    head = {**HEAD, "layer": 0, "head": 0, "corrected": 0.8, "before": "base", "change": -0.0001}
    (tmp_path / "heads.json").write_text(json.dumps([head]))
    assert moved_heads(run).rows[0][1].startswith("0.000 (")


@pytest.mark.parametrize("text", ["{", '{"heads": []}', '[{"layer": 0}]', "3"])
def test_malformed_heads_are_refused_by_name(tmp_path, text):
    run = Run.load(make_run(tmp_path, n_facts=8))
    (tmp_path / "heads.json").write_text(text)
    with pytest.raises(InputError, match=r"heads\.json"):
        moved_heads(run)


def test_what_an_architecture_ignores_is_said(tmp_path):
    run = measured(tmp_path, n_facts=8)
    for arm in run.results["arms"].values():
        arm["knockout_subject"] = NUMBERS["knockout_relation"]
    with pytest.raises(NotMeasured, match="architecture ignores"):
        evidence.hidden(run)


@pytest.mark.parametrize("draw", [evidence.hidden, evidence.readout, evidence.trajectory])
def test_hostile_arm_names_are_drawn_as_text(tmp_path, draw):
    run = measured(tmp_path, arms=("base", HOSTILE, DOLLARS, "checkpoint-1", "checkpoint-2"), n_facts=8)
    svg, _ = save(draw(run), tmp_path / "drawn")
    ElementTree.parse(svg)
    assert "<img" not in inline_svg(draw(run), "x")


@pytest.mark.parametrize("draw", [evidence.hidden, evidence.readout, evidence.trajectory])
def test_nothing_reaches_beyond_the_picture(tmp_path, draw):
    run = measured(tmp_path, arms=("base", *(f"checkpoint-{i}" for i in range(100, 1100, 100))), n_facts=8)
    _, png = save(draw(run), tmp_path / "drawn")
    pixels = image.imread(png)[:, :, :3]
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    assert all((edge == 1).all() for edge in edges)


@pytest.mark.parametrize("draw", [evidence.hidden, evidence.readout, evidence.trajectory])
def test_older_runs_leave_the_panels_out(tmp_path, draw):
    run = Run.load(make_run(tmp_path / "run"))
    with pytest.raises(NotMeasured, match="left out"):
        draw(run)


def test_the_page_of_an_older_run_says_what_it_lacks(tmp_path):
    run = Run.load(make_run(tmp_path, n_facts=8))
    assert moved_heads(run).rows == ()
    text = render_report(run)
    for what in ("the last token needs to see", "values say", "Which heads moved"):
        assert f"{what} is left out" in text.replace("&#39;", "'")
    for name in ("hidden", "readout", "trajectory"):
        assert f'id="figure-{name}"' not in text
