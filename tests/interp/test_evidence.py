"""Panels of evidence: plotted values are the files', and what was not measured is left out."""

from __future__ import annotations

import json

import pytest

from interp import evidence
from interp.report import page
from interp.run import NotMeasured, Run
from interp.tables import moved_heads

from .run_directory_fixture import HOSTILE, make_run
from .test_viz import errorbars

NUMBERS = {
    "knockout_subject": {"value": 1.5, "low": 1.2, "high": 1.8, "n": 40},
    "knockout_relation": {"value": None, "low": None, "high": None, "n": 0},
    "readout_stored": {"value": 0.25, "low": 0.2, "high": 0.3, "n": 40},
    "readout_used": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40},
}
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
    assert len(hidden[1][1]) == 0, "what the architecture did not allow is not drawn"


def test_a_trajectory_runs_over_steps_from_the_base(tmp_path):
    run = measured(tmp_path / "run", arms=("base", "checkpoint-100", "checkpoint-20"))
    accuracy = errorbars(evidence.trajectory(run).axes[0])[0]
    told = [run.results["arms"][a]["accuracy"]["value"] for a in ("base", "checkpoint-20", "checkpoint-100")]
    assert list(accuracy[0]) == [0, 20, 100]
    assert accuracy[1] == pytest.approx(told)


def test_moved_heads_are_listed_with_how_many_pass(tmp_path):
    run = measured(tmp_path / "run")
    heads = moved_heads(run)
    assert [head.passes for head in heads] == [True, False, False]
    assert heads[0].change == "−0.200"
    text = page(run)
    assert "1 of the 3 heads listed pass 5%" in text.replace("\n", " ")
    assert HOSTILE not in text


@pytest.mark.parametrize("draw", [evidence.hidden, evidence.readout, evidence.trajectory])
def test_older_runs_leave_the_panels_out(tmp_path, draw):
    run = Run.load(make_run(tmp_path / "run"))
    with pytest.raises(NotMeasured, match="left out"):
        draw(run)
    assert moved_heads(run) == ()
    assert "Which heads moved" not in page(run)
