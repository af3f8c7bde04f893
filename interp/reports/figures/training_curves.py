"""How trainings got there: validation accuracy and loss along the steps, an arm a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.common.errors import InputError
from finetune.common.files import read_json
from interp.reports.figures.curves import Curve, curves
from interp.reports.read.run import BASE, RULE, NotMeasured, Run
from interp.stats import Estimate, over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {"accuracy": "Validation accuracy (%)", "loss": "Training loss (nats)"}
FILE = "training.json"

Curves = Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]  # by arm: one list of points a seed


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
    found = read_training_curves(source.path if isinstance(source, Run) else Path(source))
    if not found:
        raise NotMeasured("The course of the trainings is left out: this directory holds no training.json.")
    count = max(map(len, found.values()))
    panels = {
        title: [_mean(arm, seeds, key) for arm, seeds in found.items()]
        for key, title in PANELS.items()
        if any(point[key] is not None for seeds in found.values() for points in seeds for point in points)
    }
    what = "trainings" if count > 1 else "training"
    unit = f"{what} of each arm" if len(found) > 1 else what
    figure = curves(panels, x="step", y="", share=False, unit=unit)
    for axes, title in zip(figure.axes, panels, strict=True):
        axes.set_ylim(0, 100 if title == PANELS["accuracy"] else None)
    return figure


def read_training_curves(path: Path) -> dict[str, list[list[dict[str, Any]]]]:
    """Read the points of every chosen training below a directory: by arm, one list a seed.

    Raises:
        InputError: a training.json is malformed.
    """
    if (path / FILE).is_file():
        return {path.name: [_points(path / FILE)]}
    found: dict[str, list[list[dict[str, Any]]]] = {}
    for file in sorted((path / "seeds").glob("*/checkpoints.json")):
        for arm, checkpoint in read_json(file).items():
            # The run may have been moved since: only the names below the seed count.
            training = file.parent / "arms" / arm / Path(checkpoint).name / FILE
            if arm != BASE and training.is_file():
                found.setdefault(arm, []).append(_points(training))
    return found


def _points(path: Path) -> list[dict[str, Any]]:
    try:
        points = read_json(path)["curve"]
        return [{**{key: p.get(key) for key in PANELS}, "step": int(p["step"])} for p in points]
    except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: is not laid out as expected ({error!r}); {RULE}") from None


def _mean(arm: str, seeds: Sequence[Sequence[Mapping[str, Any]]], key: str) -> Curve:
    scale, top = (100, 100) if key == "accuracy" else (1, math.inf)
    steps = sorted({point["step"] for points in seeds for point in points})
    numbers = []
    for step in steps:
        here = [p[key] for points in seeds for p in points if p["step"] == step and p[key] is not None]
        each = [Estimate(value=scale * value, low=None, high=None, n=1) for value in here]
        numbers.append(asdict(over_seeds(each, bounds=(0, top))))
    return Curve(label=arm, x=steps, y=numbers)
