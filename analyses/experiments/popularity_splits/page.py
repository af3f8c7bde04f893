"""The page of popularity_splits: what the numbers decide of the paper's first claim, tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analyses.experiments.popularity_splits.cells import BASE, as_trained
from analyses.experiments.popularity_splits.numbers import select_rates_by_validation
from interp.reports.figures.curves import Curve, curves, forest
from interp.reports.pages.results_tables import curve, decide_each, decided_study, results_table
from interp.reports.pages.study import (
    Claim,
    Study,
    StudyFigure,
    StudyTable,
)
from interp.reports.read.results import Results

Setting = tuple[str, str, str, str]  # data set, model, method, share
HEADS = ("Data", "Model", "Method", "Share")
_PLACES = {"q1": "most popular", "q2": "2nd", "q3": "3rd", "q4": "least popular"}


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with the tables and the figures."""
    return decided_study(
        title="Popularity splits",
        question="Which facts should one fine-tune on: the popular ones, the unpopular ones, or all?",
        claims=claims(results),
        otherwise=("No pair of arms was trained that could be compared.", "measured"),
        tables=(_accuracy(results), _differences(results), *_asked(results), _rates(frame)),
        figures=tuple(_figures(results)),
        notes=tuple(_notes(frame)),
    )


def setting_numbers(results: Results) -> dict[Setting, Results]:
    """Return the numbers of every data set, model, method and share."""
    settings = dict.fromkeys(place[:4] for place in results.numbers if place[0] != "seeds")
    return {(d, m, w, s): results.part((d, m, w, s)) for d, m, w, s in settings}


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide the paper's first claim, for every data set, model, method and share."""
    return decide_each(
        results,
        [
            (f"{', '.join(setting)}: {what} on {facts}", "paper, claim 1", place, "points")
            for setting in setting_numbers(results)
            for name, what in _CLAIMS.items()
            for key, facts in _ASKED.items()
            if (place := f"{'/'.join(setting)}/contrasts/{name}/{key}") in results
        ],
    )


def _accuracy(results: Results) -> StudyTable:
    columns = {
        "All held-out facts": ("accuracy", "%"),
        "Known to the base": ("accuracy_known", "%"),
        "Unknown to it": ("accuracy_unknown", "%"),
        "Contains the answer": ("contains", "%"),
    }
    rows = {
        _places(setting, arm): part
        for setting, held in setting_numbers(results).items()
        for arm, part in held.below("arms").items()
    }
    if any("choice" in part for part in rows.values()):
        columns["Multiple choice"] = ("choice", "%")
    return results_table("Accuracy by arm", (*HEADS, "Arm"), rows, columns)


def _differences(results: Results) -> StudyTable:
    return results_table(
        "Paired differences between arms, in points",
        (*HEADS, "Arms"),
        {
            (*setting, name.replace("_minus_", " − ")): part
            for setting, held in setting_numbers(results).items()
            for name, part in held.below("contrasts").items()
        },
        {"All held-out facts": ("accuracy", "+%"), "Known to the base": ("accuracy_known", "+%")},
    )


def _asked(results: Results) -> Iterator[StudyTable]:
    """List arms by checkpoint and number of solved examples, where several were asked."""
    rows = {
        (*_places(setting, arm), how): part
        for setting, held in setting_numbers(results).items()
        for how, asked in held.below("asked").items()
        for arm, part in asked.below("arms").items()
    }
    if rows:
        columns = {
            "All held-out facts": ("accuracy", "%"),
            "Known to the base": ("accuracy_known", "%"),
            "Known, answer not the commonest": ("accuracy_known_uncommon", "%?"),
            "Subject attention": ("subject_attention", "3?"),
            "KL from the base, nats": ("kl_from_base", "2?"),
        }
        yield results_table("By checkpoint and solved examples", (*HEADS, "Arm", "Asked"), rows, columns)


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


def _notes(frame: pd.DataFrame) -> Iterator[str]:
    """Say by which rules facts are known to the base, and how checkpoints were chosen."""
    base = as_trained(frame[frame["arm"] == BASE])
    picked = base.reindex(columns=["choice_correct"])["choice_correct"].notna()
    elicited = base.reindex(columns=["base_degree"])["base_degree"].notna()
    rules = {_ELICITED: elicited, _STATED: ~elicited & ~picked, _PICKED: picked}
    yield from (rule for rule, holds in rules.items() if holds.any())
    trained = as_trained(frame[frame["arm"] != BASE])
    yield from (told for name, told in _CHECKPOINT.items() if (trained["checkpoint"] == name).any())
    if trained.groupby("method")["learning_rate"].nunique().max() > 1:
        yield _RATES


def _figures(results: Results) -> Iterator[StudyFigure]:
    settings = {", ".join(setting): part for setting, part in setting_numbers(results).items()}
    gaps = []
    for name in _CLAIMS:
        parts = {told: part.part(f"contrasts/{name}") for told, part in settings.items()}
        line = curve(
            name.replace("_minus_", " − "), {t: p for t, p in parts.items() if p.numbers}, "accuracy"
        )
        points = [{k: 100 * v if k != "n" and v is not None else v for k, v in y.items()} for y in line.y]
        gaps += [Curve(label=line.label, x=line.x, y=points)] if points else []
    if gaps:
        figure = forest(gaps, x="difference on all held-out facts (points)", mark=(0, "no difference"))
        yield StudyFigure(name="differences", figure=figure, caption=_GAPS)
    for i, (told, part) in enumerate(settings.items()):
        lines = [
            curve(arm, {place: by[quarter] for quarter, place in _PLACES.items()}, "")
            for arm, numbers in part.below("arms").items()
            if (by := numbers.below("accuracy_by_quartile"))
        ]
        if lines:
            figure = curves({told: lines}, x="quarter of the facts", y="accuracy (%)", percent=True)
            yield StudyFigure(name=f"by_quartile_{i}", figure=figure, caption=f"{told}. {_QUARTILES}")


def _places(setting: Setting, arm: str) -> tuple[str, ...]:
    dataset, model, method, share = setting
    of_arm = {"whole": "1", "base": ""}.get(arm, share)
    return dataset, model, "none" if arm == "base" else method, of_arm, arm


_CLAIMS = {
    "top_minus_bottom": "training on popular facts serves better than on unpopular ones",
    "top_minus_whole": "training on popular facts serves better than on all of them",
    "top_minus_random": "training on popular facts serves better than on random ones",
}
_ASKED = {"accuracy": "all held-out facts", "accuracy_known": "facts the base knows"}
_ELICITED = (
    "A fact is known to the base if it is HighlyKnown or MaybeKnown, elicited in the forms that suit the "
    "base, with an answer that is likelier for this subject than for others."
)
_STATED = "A fact is known to the base that was pretrained here if it completes every statement form right."
_PICKED = "A multiple-choice fact is known to the base if it picks the right option as asked."
_CHECKPOINT = {
    "best": "The checkpoint of every arm is the one that validates best.",
    "last": "The checkpoint of every arm is its last, after equal steps.",
    "loss": "The checkpoint of every arm is the first whose loss on its own training answers is low enough.",
}
_RATES = "Its learning rate was chosen on validation facts, from the same grid."
_GAPS = "Paired differences in accuracy between arms, on the same held-out facts, with 95% intervals."
_QUARTILES = "Accuracy on held-out facts by quarter of their popularity, with 95% intervals."
