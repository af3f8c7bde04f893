"""Curves of the experiments, from their results or their run directories: mixture, depth, frequency."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.common.errors import InputError
from interp.reports.figures.curves import Curve, curves
from interp.reports.read.run import RULE, read_object

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, Any]
TESTS = ("popular", "unpopular")


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
