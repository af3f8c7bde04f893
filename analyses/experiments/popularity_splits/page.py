"""The page of popularity_splits: what the numbers decide of the paper's first claim, tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from analyses.experiments.popularity_splits.numbers import select_rates_by_validation
from interp.reports.figures.curves import Curve, curves, forest
from interp.reports.pages.study import (
    Claim,
    Study,
    StudyFigure,
    StudyTable,
    claim_sentence,
    decide_claim,
    format_entry,
)

if TYPE_CHECKING:
    import pandas as pd

Setting = tuple[str, str, str, str]  # data set, model, method, share
_PLACES = {"q1": "most popular", "q2": "2nd", "q3": "3rd", "q4": "least popular"}


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with the tables and the figures."""
    made = claims(results)
    return Study(
        title="Popularity splits",
        question="Which facts should one fine-tune on: the popular ones, the unpopular ones, or all?",
        finding=claim_sentence(made) if made else "No pair of arms was trained that could be compared.",
        outcome=made[0].outcome if made else "measured",
        claims=made,
        tables=(_accuracy(results), _differences(results), _rates(frame)),
        figures=tuple(_figures(results)),
        notes=(_KNOWN, _CHOSEN),
    )


def setting_numbers(results: Mapping[str, Any]) -> Iterator[tuple[Setting, Mapping[str, Any]]]:
    """Yield every data set, model, method and share with its numbers."""
    for dataset, models in results.items():
        if dataset == "seeds":
            continue
        for model, methods in models.items():
            for method, shares in methods.items():
                for share, part in shares.items():
                    yield (dataset, model, method, share), part


def claims(results: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide the paper's first claim, for every data set, model, method and share."""
    made = []
    for setting, part in setting_numbers(results):
        for name, what in _CLAIMS.items():
            if name not in part["contrasts"]:
                continue
            for key, facts in _ASKED.items():
                made.append(
                    decide_claim(
                        f"{_told(setting)}: {what} on {facts}",
                        "paper, claim 1",
                        part["contrasts"][name][key],
                        unit="points",
                    )
                )
    return tuple(made)


def _accuracy(results: Mapping[str, Any]) -> StudyTable:
    columns = {
        "All held-out facts": "accuracy",
        "Known to the base": "accuracy_known",
        "Unknown to it": "accuracy_unknown",
        "Contains the answer": "contains",
    }
    if any("choice" in arm for _, part in setting_numbers(results) for arm in part["arms"].values()):
        columns["Multiple choice"] = "choice"
    rows = []
    for setting, part in setting_numbers(results):
        for arm, numbers in part["arms"].items():
            cells = (format_entry(numbers[k], unit="%") if k in numbers else None for k in columns.values())
            rows.append((*_places(setting, arm), *cells))
    names = ("Data", "Model", "Method", "Share", "Arm")
    return StudyTable(title="Accuracy by arm", columns=(*names, *columns), rows=tuple(rows))


def _differences(results: Mapping[str, Any]) -> StudyTable:
    rows = tuple(
        (
            *setting,
            name.replace("_minus_", " − "),
            format_entry(numbers["accuracy"], unit="%", signed=True),
            format_entry(numbers["accuracy_known"], unit="%", signed=True),
        )
        for setting, part in setting_numbers(results)
        for name, numbers in part["contrasts"].items()
    )
    return StudyTable(
        title="Paired differences between arms, in points",
        columns=("Data", "Model", "Method", "Share", "Arms", "All held-out facts", "Known to the base"),
        rows=rows,
    )


def _rates(frame: pd.DataFrame) -> StudyTable:
    """List what validation chose, by arm: rates of the grid, and at which steps."""
    rows = []
    picked = select_rates_by_validation(frame)
    keys = ["dataset", "model", "method", "fraction", "arm"]
    for key, some in picked[picked["arm"] != "base"].groupby(keys, sort=False):
        one = some.drop_duplicates("seed").sort_values("seed")
        dataset, model, method, fraction, arm = key
        rates = ", ".join(f"{rate:g}" for rate in one["learning_rate"])
        steps = ", ".join(f"{step:.0f}" for step in one["step"])
        right = ", ".join(f"{100 * v:.1f}" for v in one["validation"])
        rows.append((str(dataset), str(model), str(method), f"{fraction:g}", str(arm), rates, steps, right))
    return StudyTable(
        title="What validation chose, seed by seed",
        columns=("Data", "Model", "Method", "Share", "Arm", "Learning rate", "Step", "Validation, %"),
        rows=tuple(rows),
    )


def _figures(results: Mapping[str, Any]) -> Iterator[StudyFigure]:

    gaps: dict[str, Curve] = {}
    for name in _CLAIMS:
        places, numbers = [], []
        for setting, part in setting_numbers(results):
            if name in part["contrasts"]:
                number = part["contrasts"][name]["accuracy"]
                places.append(_told(setting))
                numbers.append({k: 100 * v if k != "n" and v is not None else v for k, v in number.items()})
        if places:
            gaps[name] = Curve(label=name.replace("_minus_", " − "), x=places, y=numbers)
    if gaps:
        figure = forest(list(gaps.values()), x="difference on all held-out facts (points)", mark=0)
        yield StudyFigure(name="differences", figure=figure, caption=_GAPS)
    panels = {
        _told(setting): [
            Curve(
                label=arm,
                x=list(_PLACES.values()),
                y=[numbers["accuracy_by_quartile"][q] for q in _PLACES],
            )
            for arm, numbers in part["arms"].items()
            if "accuracy_by_quartile" in numbers
        ]
        for setting, part in setting_numbers(results)
    }
    for i, (title, lines) in enumerate(panels.items()):
        if lines:
            figure = curves({title: lines}, x="quarter of the facts", y="accuracy (%)", percent=True)
            yield StudyFigure(name=f"by_quartile_{i}", figure=figure, caption=f"{title}. {_QUARTILES}")


def _places(setting: Setting, arm: str) -> tuple[str, ...]:
    dataset, model, method, share = setting
    return dataset, model, "none" if arm == "base" else method, _share(arm, share), arm


def _share(arm: str, share: str) -> str:
    return "1" if arm == "whole" else "" if arm == "base" else share


def _told(setting: Setting) -> str:
    dataset, model, method, share = setting
    return f"{dataset}, {model}, {method}, {share}"


_CLAIMS = {
    "top_minus_bottom": "training on popular facts serves better than on unpopular ones",
    "top_minus_whole": "training on popular facts serves better than on all of them",
    "top_minus_random": "training on popular facts serves better than on random ones",
}
_ASKED = {"accuracy": "all held-out facts", "accuracy_known": "facts the base knows"}
_KNOWN = (
    "A fact is known to the base if it completes every statement form of it correctly; a multiple-choice "
    "fact, if it picks the right option as asked."
)
_CHOSEN = "Learning rate and checkpoint of every arm were chosen on validation facts, from the same grid."
_GAPS = "Paired differences in accuracy between arms, on the same held-out facts, with 95% intervals."
_QUARTILES = "Accuracy on held-out facts by quarter of their popularity, with 95% intervals."
