"""Charts of what a checkpoint still holds and reads, and of how a training run got there.

Like :mod:`interp.figures`: each takes a run or its directory, returns a ``Figure``, and raises
``NotMeasured`` where the run lacks what the chart needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from interp.figures import draw_points
from interp.run import BASE, Measured, NotMeasured, Run
from interp.style import INK, OKABE_ITO, label, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = Mapping[str, tuple[str, str, str]]  # key in results.json: legend, colour, marker

HIDDEN: Series = {
    "knockout_subject": ("the subject", OKABE_ITO[0], "o"),
    "knockout_relation": ("the relation's words", OKABE_ITO[1], "s"),
}
READ: Series = {
    "readout_stored": ("stored (all subject tokens alike)", OKABE_ITO[0], "o"),
    "readout_used": ("used (weighted by attention)", OKABE_ITO[1], "s"),
}
STEPS: Series = {
    "accuracy": ("accuracy, all facts", OKABE_ITO[0], "o"),
    "accuracy_known": ("accuracy, known facts", OKABE_ITO[1], "s"),
    "subject_attention": ("subject-attention mass", INK, "^"),
}


@styled
def hidden(run: Run) -> Figure:
    """Draw what each arm loses when its last prompt token cannot see a part of the prompt (nats)."""
    return _by_arm(
        run, HIDDEN, scale=1, ylabel="log p(answer) lost (nats)", legend="hidden from the last token"
    )


@styled
def readout(run: Run) -> Figure:
    """Draw how often the gold answer is read most strongly from the subject's values, per arm (%)."""
    return _by_arm(
        run, READ, scale=100, ylabel="gold answer read first\n(% of known facts)", legend="readout"
    )


@styled
def trajectory(run: Run) -> Figure:
    """Draw accuracy and subject-attention mass against training step, the base at step 0."""
    arms = {int(m[1]): arm for arm in run.arms if (m := re.fullmatch(r"checkpoint-(\d+)", arm))}
    if len(arms) < 2:
        raise NotMeasured("A trajectory is left out: it needs two or more arms called checkpoint-STEP.")
    if BASE in run.arms:
        arms[0] = BASE
    figure = new_figure(6.4, 3.2)
    axes = figure.add_subplot()
    for key, (text, colour, marker) in STEPS.items():
        found = {step: e for step in sorted(arms) if (e := run.number("arms", arms[step], key))}
        style = {"color": colour, "marker": marker, "label": text}
        draw_points(axes, list(found), list(found.values()), scale=1, **style)
    axes.set_xlabel("training step")
    axes.set_ylabel("share")
    axes.set_ylim(0, 1.02)
    _finish(axes, legend=None)
    return figure


def _by_arm(run: Run, series: Series, *, scale: float, ylabel: str, legend: str) -> Figure:
    measured: dict[str, dict[int, Measured]] = {
        key: {i: e for i, arm in enumerate(run.arms) if (e := run.number("arms", arm, key))} for key in series
    }
    if not any(measured.values()):
        raise NotMeasured(f"{ylabel.splitlines()[0].capitalize()} is left out: this run did not measure it.")
    figure = new_figure(6.4, 2.9)
    axes = figure.add_subplot()
    for shift, (key, (text, colour, marker)) in zip((-0.08, 0.08), series.items(), strict=True):
        style = {"color": colour, "marker": marker, "label": text, "linestyle": ""}
        x = [i + shift for i in measured[key]]
        draw_points(axes, x, list(measured[key].values()), scale=scale, **style)
    axes.set_xticks(range(len(run.arms)), [label(arm, 14) for arm in run.arms])
    axes.set_xlim(-0.5, len(run.arms) - 0.5)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_ylabel(ylabel)
    _finish(axes, legend=legend)
    return figure


def _finish(axes: Axes, *, legend: str | None) -> None:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.legend(title=legend, loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.7)
