"""Curves of experiments and trainings, from results or run directories: mixture, depth, frequency, steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from finetune.common.errors import InputError
from interp.reports.figures.curves import Curve, curves
from interp.reports.read.fact_attention import BASE
from interp.reports.read.files import RULE, expected_layout, read_object, read_run_json
from interp.reports.read.run import NotMeasured, Run
from interp.stats import Estimate, over_seeds

Results = Mapping[str, Any]
TESTS = ("popular", "unpopular")
PANELS = {"accuracy": "Validation accuracy (%)", "loss": "Training loss (nats)"}
FILE = "training.json"


def mixture_curves(source: Results | Path | str) -> Figure:
    """Draw held-out accuracy by the share of popular facts in a fine-tuning set of one size.

    Raises:
        InputError: the directory is no run of mixture_sweep.
    """
    results = _results(source, "shares", "mixture_sweep")
    shares = results["shares"]

    def curve(test: str, key: str) -> Curve:
        places = [100 * float(share) for share in shares]
        return Curve(label=f"{test} facts", x=places, y=[shares[share][test][key] for share in shares])

    panels = {"Known to the base": "accuracy_known", "All": "accuracy"}
    return curves(
        {title: [curve(test, key) for test in TESTS] for title, key in panels.items()},
        x="popular facts in the set (%)",
        y="held-out accuracy (%)",
        percent=True,
        unit=_unit(results),
    )


def depth_layers(source: Results | Path | str) -> Figure:
    """Draw the halves' difference in subject attention by the place of the layer, a curve a depth.

    Raises:
        InputError: the directory is no run of depth_sweep.
    """
    results = _results(source, "depths", "depth_sweep")

    def layers(depth: str, part: Mapping[str, Any]) -> Curve:
        x = [100 * (int(i) + 0.5) / len(part) for i in part]
        return Curve(label=f"{depth} layer{'s' if depth != '1' else ''}", x=x, y=list(part.values()))

    return curves(
        {"": [layers(depth, part["imbalance"]) for depth, part in results["depths"].items()]},
        x="place of the layer (% of depth)",
        y="attention mass,\npopular less unpopular",
        zero=True,
        unit=_unit(results),
    )


def depth_recovery(source: Results | Path | str) -> Figure:
    """Draw how many lost facts a transplant of attention recovers by depth, beside its placebo.

    Raises:
        InputError: the directory is no run of depth_sweep.
    """
    results = _results(source, "depths", "depth_sweep")
    depths = results["depths"]
    labels = {"pattern_only": "the popular half's rows", "placebo": "those of another subject"}
    return curves(
        {
            "": [
                Curve(
                    label=label, x=[int(d) for d in depths], y=[p["recovery"][key] for p in depths.values()]
                )
                for key, label in labels.items()
            ]
        },
        x="layers",
        y="lost facts recovered (%)",
        percent=True,
        log=True,
        unit=_unit(results),
    )


def frequency_curves(source: Results | Path | str, *, real: bool | None = None) -> Figure:
    """Draw what the base states, and what of it survives each fine-tuning, by how often facts were met.

    ``real`` says that levels are quarters of page views rather than counts; by their names without it.

    Raises:
        InputError: the directory is no run of salience_vs_frequency.
    """
    results = _results(source, "storage", "salience_vs_frequency")
    storage, arms = results["storage"], results["arms"]
    real = not all(level.replace(".", "", 1).isdigit() for level in storage) if real is None else real
    places = [level.upper() if real else float(level) for level in storage]

    def stated(part: str) -> Curve:
        name = "all facts" if part == "all" else f"{part} answers"
        return Curve(label=name, x=places, y=[each[part] for each in storage.values()])

    survives = [
        Curve(label=name, x=places, y=[arm["survival"][level]["all"] for level in storage])
        for name, arm in arms.items()
    ]
    figure = curves(
        {
            "Stated by the base": [stated(part) for part in ("all", "common", "rare")],
            "Known facts that survive": survives,
        },
        x="page views" if real else "sightings in pretraining",
        y="held-out facts (%)",
        percent=True,
        log=not real,
        unit=_unit(results),
    )
    if not real:
        for axes in figure.axes:  # every level has its point; every second its number
            axes.set_xticks(places[::2], [f"{p:g}" for p in places[::2]])
    return figure


def training_curves(source: Run | Path | str) -> Figure:
    """Draw each arm's validation accuracy and training loss against its step.

    Of several seeds the mean is drawn, with a t-interval over seeds; one training alone has no interval. The
    learning rate is the one that validation chose.

    Args:
        source: a run of attention_imbalance or its directory, or the directory of one training.

    Raises:
        NotMeasured: the run trained no arm.
        InputError: a training.json is malformed.
    """
    found = _trainings(source.path if isinstance(source, Run) else Path(source))
    if not found:
        raise NotMeasured("The course of the trainings is left out: this directory holds no training.json.")
    panels = {
        title: [_mean(arm, seeds, key) for arm, seeds in found.items()]
        for key, title in PANELS.items()
        if any(point[key] is not None for seeds in found.values() for points in seeds for point in points)
    }
    unit = "trainings of each arm" if len(found) > 1 else "trainings"
    figure = curves(panels, x="step", y="", share=False, unit=unit)
    for axes, title in zip(figure.axes, panels, strict=True):
        axes.set_ylim(0, 100 if title == PANELS["accuracy"] else None)
    return figure


def _trainings(path: Path) -> dict[str, list[list[dict[str, Any]]]]:
    """Read the points of every chosen training below a directory: by arm, one list a seed."""
    if (path / FILE).is_file():
        return {path.name: [_points(path / FILE)]}
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for file in sorted((path / "seeds").glob("*/checkpoints.json")):
        for arm, checkpoint in read_run_json(file).items():
            # The run may have been moved since: only the names below the seed count.
            training = file.parent / "arms" / arm / Path(checkpoint).name / FILE
            if arm != BASE and training.is_file():
                found.setdefault(arm, []).append(_points(training))
    return found


def _points(path: Path) -> list[dict[str, Any]]:
    with expected_layout(path):
        points = read_run_json(path)["curve"]
        return [{**{key: p.get(key) for key in PANELS}, "step": int(p["step"])} for p in points]


def _mean(arm: str, seeds: Sequence[Sequence[Mapping[str, Any]]], key: str) -> Curve:
    scale, top = (100, 100) if key == "accuracy" else (1, math.inf)
    steps = sorted({point["step"] for points in seeds for point in points})
    numbers = []
    for step in steps:
        here = [p[key] for points in seeds for p in points if p["step"] == step and p[key] is not None]
        each = [Estimate(value=scale * value, low=None, high=None, n=1) for value in here]
        numbers.append(asdict(over_seeds(each, bounds=(0, top))))
    return Curve(label=arm, x=steps, y=numbers)


def _results(source: Results | Path | str, key: str, script: str) -> Results:
    if isinstance(source, Mapping):
        return source
    path = Path(source) / "results.json"
    results = read_object(path)
    if not results.get(key):
        raise InputError(f'{path}: holds no "{key}", so it is no run of {script}; {RULE}')
    return results


def _unit(results: Results) -> str:
    """Say what n counts: trainings where there are several seeds, else facts."""
    return "trainings" if len(results.get("seeds") or ()) > 1 else "facts"
