"""Page of the experiment on popularity and diversity: tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.experiments.popularity_or_diversity.claims import STATES, WORDS, claims, words_of
from analyses.experiments.popularity_or_diversity.crossed_sets import ALL, COMMONEST, FEW
from analyses.experiments.popularity_or_diversity.group_gradients import EVERYTHING, MODULES, NORMS
from analyses.experiments.popularity_or_diversity.numbers import OWN_KIND, key_of
from interp.reports.figures.curves import Curve, curves
from interp.reports.pages.study import Study, StudyFigure, StudyTable, claim_sentence, format_entry

if TYPE_CHECKING:
    import pandas as pd

EFFECTS = {
    "popular_minus_unpopular": "popular − unpopular",
    "popular_minus_random": "popular − random",
    "random_minus_unpopular": "random − unpopular",
    "many_minus_one": "{many} − {one}",
    "all_minus_few": "all answers − {few}",
    "relations_interaction": "popular − unpopular, at {many} less at {one}",
    "answers_interaction": "popular − unpopular, at all answers less at {few}",
}
SHORT = {"embedding": "W_E", "unembedding": "W_U"}
COSINES = {
    "popular_unpopular": "popular, unpopular",
    "random_popular": "random, popular",
    "random_unpopular": "random, unpopular",
    "random_random": "random, random (placebo)",
    "popular_popular": "popular, popular",
    "unpopular_unpopular": "unpopular, unpopular",
}


def page(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with tables and figures."""
    made, words = claims(frame, results), words_of(frame)
    tables, figures = [], []
    if results["sets"]:
        tables += [_effects(results, words), _sets(frame, results)]
        figures.append(_accuracy(frame, results))
    states = [state for state in STATES if results[state]]
    for state in states:
        tables += [_cosines(results, state), _norms(results, state)]
    if states:
        figures.append(_directions(results, states))
    return Study(
        title="Popularity or diversity",
        question="Is it popularity, or diversity of relations and answers? Why does a random half do nearly "
        "as well?",
        finding=claim_sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=tuple(tables),
        figures=tuple(figures),
        notes=_NOTES,
    )


def _effects(results: dict[str, Any], words: dict[str, str]) -> StudyTable:
    effects = results["effects"]
    rows = [
        (
            text.format_map(words),
            *(
                format_entry(effects[f"{test}_{name}"], unit="%", signed=True)
                for test in ("known", "all", "first_known")
            ),
        )
        for name, text in EFFECTS.items()
    ]
    for number in results["placebo"].values():
        rows.append(("popularity shuffled (placebo)", format_entry(number, unit="%", signed=True), "", ""))
    attention = format_entry(effects["subject_attention_popular_minus_unpopular"], digits=3, signed=True)
    return StudyTable(
        title="Effects on held-out accuracy, points",
        columns=("Effect", "Known to the base", "All", "Known, relation that every set has"),
        rows=tuple(rows),
        note="Each is averaged over the settings of the other two factors. Subject attention, popular − "
        f"unpopular: {attention}.",
    )


def _sets(frame: pd.DataFrame, results: dict[str, Any]) -> StudyTable:
    columns = {
        "accuracy_known": "Known",
        "accuracy_known_trained": "Trained relations",
        "accuracy_known_others": "Other relations",
        "accuracy_known_popular": "Popular",
        "accuracy_known_unpopular": "Unpopular",
        "genericness": "Generic errors",
    }
    rows: list[tuple[str | int, ...]] = []
    for popularity, count, answers in _crossed(frame):
        part = results["sets"].get(key_of(popularity, count, answers))
        if part:
            rows.append((popularity, count, answers, *(format_entry(part[key], unit="%") for key in columns)))
    sizes = sorted({int(n) for n in frame["size"].dropna()})
    return StudyTable(
        title="Held-out accuracy by fine-tuning set, facts that the base states, %",
        columns=("Facts", "Relations", "Answers", *columns.values()),
        rows=tuple(rows),
        note=f"Every set of a seed has the same number of facts ({_span(sizes)} by seed). Generic errors: "
        "wrong answers, in relations of the set, that are the set's commonest answer of the relation.",
    )


def _span(sizes: list[int]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _crossed(frame: pd.DataFrame) -> list[tuple[str, int, str]]:
    arms = frame[frame["part"] == "arms"]
    some = arms[["popularity", "relations", "answers"]].drop_duplicates()
    return [(str(p), int(r), str(a)) for p, r, a in some.itertuples(index=False)]


def _cosines(results: dict[str, Any], state: str) -> StudyTable:
    groups, contrasts = _groups(results, state), results[state.replace("gradients", "gradient_contrasts")]
    columns = {**COSINES, OWN_KIND: "one kind (geometric mean)"}
    rows = tuple(
        (
            group,
            *(format_entry(results[state]["cosine"][group][name], digits=3) for name in columns),
            format_entry(contrasts[group]["own_kind_minus_cross"], digits=3, signed=True),
        )
        for group in groups
    )
    return StudyTable(
        title=f"Cosine between loss gradients on disjoint batches, {STATES[state]}",
        columns=("Group", *columns.values(), "one kind − popular, unpopular"),
        rows=rows,
        note="Two batches of one kind differ by the draw of facts alone, so theirs is the highest to expect.",
    )


def _norms(results: dict[str, Any], state: str) -> StudyTable:
    kinds = ("popular", "unpopular", "random")
    part, groups = results[state], _groups(results, state)
    rows = [(group, *(format_entry(part["norm"][group][k], digits=3) for k in kinds)) for group in groups]
    rows.append(
        ("loss (nats a token)", *(format_entry(part["loss"]["all"][kind], digits=3) for kind in kinds))
    )
    title = f"Norm of the mean gradient on a batch, {STATES[state]}"
    return StudyTable(title=title, columns=("Group", *kinds), rows=tuple(rows))


def _groups(results: dict[str, Any], state: str) -> list[str]:
    return [g for g in (EVERYTHING, *MODULES, NORMS) if g in results[state]["cosine"]]


def _accuracy(frame: pd.DataFrame, results: dict[str, Any]) -> StudyFigure:

    names = {ALL: "all answers", FEW: f"the {WORDS[COMMONEST]} commonest answers"}
    crossed = [each for each in _crossed(frame) if key_of(*each) in results["sets"]]

    def curve(popularity: str, answers: str) -> Curve:
        counts = sorted({r for p, r, a in crossed if (p, a) == (popularity, answers)})
        numbers = [results["sets"][key_of(popularity, count, answers)]["accuracy_known"] for count in counts]
        return Curve(label=popularity, x=[str(count) for count in counts], y=numbers)

    pools = list(dict.fromkeys(popularity for popularity, _, _ in crossed))
    figure = curves(
        {name: [curve(pool, answers) for pool in pools] for answers, name in names.items()},
        x="relations in the set",
        y="held-out accuracy (%)",
        percent=True,
    )
    return StudyFigure(name="accuracy", figure=figure, caption=_ACCURACY)


def _directions(results: dict[str, Any], states: list[str]) -> StudyFigure:

    some = ("popular_unpopular", "random_popular", "random_unpopular", "random_random")

    def lines(state: str) -> list[Curve]:
        groups, part = _groups(results, state), results[state]["cosine"]
        short = [SHORT.get(group, group) for group in groups]
        return [Curve(label=COSINES[name], x=short, y=[part[g][name] for g in groups]) for name in some]

    figure = curves({STATES[state]: lines(state) for state in states}, x="", y="cosine of gradients")
    return StudyFigure(name="gradients", figure=figure, caption=_GRADIENTS)


_ACCURACY = (
    "Accuracy on held-out facts that the base states, of all relations, after fine-tuning on sets of one "
    "size (95% over trainings)."
)
_GRADIENTS = (
    "How alike the loss gradients of two batches are, at the base and once a random half has taught the "
    "question form, by group of parameters (95% over trainings)."
)
_NOTES = (
    "A set of one relation teaches one question form, so what it does to other relations is transfer; the "
    "relation that every set of a seed has is shown apart.",
    "A small set of one relation has more subjects than one of several relations could share; the column "
    "subjects in facts.parquet says how many each set has.",
    "At the base every fact also asks for the new question form, which all share; the second model has been "
    "taught it by a random half, so some of the facts in its batches are ones that it was trained on.",
    "Near the end of a training on facts of all kinds their mean gradient is near zero, so those of two "
    "halves of them must point apart. What is telling there is how alike two batches of one kind are, "
    "against two random ones: a direction that popularity has and chance has not.",
)
