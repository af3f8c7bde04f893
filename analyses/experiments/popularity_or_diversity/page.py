"""Page of the experiment on popularity and diversity: tables and figures."""

from __future__ import annotations

import pandas as pd

from analyses.experiments.popularity_or_diversity.claims import STATES, WORDS, claims, contrasts_of, words_of
from analyses.experiments.popularity_or_diversity.crossed_sets import ALL, COMMONEST, FEW
from analyses.experiments.popularity_or_diversity.group_gradients import EVERYTHING, MODULES, NORMS
from analyses.experiments.popularity_or_diversity.numbers import OWN_KIND, key_of
from interp.reports.figures.curves import Curve, curves
from interp.reports.pages.results_tables import curve, decided_study, results_table, write_number
from interp.reports.pages.study import Study, StudyFigure, StudyTable
from interp.reports.read.results import Results

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


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with tables and figures."""
    tables, figures = [], []
    if results.below("sets"):
        tables += [_effects(results, words_of(frame)), _sets(frame, results)]
        figures.append(_accuracy(frame, results))
    states = [state for state in STATES if results.below(state)]
    for state in states:
        tables += [_cosines(results, state), _norms(results, state)]
    if states:
        figures.append(_directions(results, states))
    return decided_study(
        title="Popularity or diversity",
        question="Is it popularity, or diversity of relations and answers? Why does a random half do nearly "
        "as well?",
        claims=claims(frame, results),
        tables=tuple(tables),
        figures=tuple(figures),
        notes=_NOTES,
    )


def _effects(results: Results, words: dict[str, str]) -> StudyTable:
    effects = results.part("effects")
    rows = [
        (
            text.format_map(words),
            *(write_number(effects.at(f"{test}_{name}"), "+%") for test in ("known", "all", "first_known")),
        )
        for name, text in EFFECTS.items()
    ]
    for number in results.part("placebo").numbers.values():
        rows.append(("popularity shuffled (placebo)", write_number(number, "+%"), "", ""))
    attention = write_number(effects.at("subject_attention_popular_minus_unpopular"), "+3")
    return StudyTable(
        title="Effects on held-out accuracy, points",
        columns=("Effect", "Known to the base", "All", "Known, relation that every set has"),
        rows=tuple(rows),
        note="Each is averaged over the settings of the other two factors. Subject attention, popular − "
        f"unpopular: {attention}.",
    )


def _sets(frame: pd.DataFrame, results: Results) -> StudyTable:
    held = results.below("sets")
    sizes = sorted({int(n) for n in frame["size"].dropna()})
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return results_table(
        "Held-out accuracy by fine-tuning set, facts that the base states, %",
        ("Facts", "Relations", "Answers"),
        {level: held[key_of(*level)] for level in _crossed(frame) if key_of(*level) in held},
        {
            "Known": ("accuracy_known", "%"),
            "Trained relations": ("accuracy_known_trained", "%"),
            "Other relations": ("accuracy_known_others", "%"),
            "Popular": ("accuracy_known_popular", "%"),
            "Unpopular": ("accuracy_known_unpopular", "%"),
            "Generic errors": ("genericness", "%"),
        },
        note=f"Every set of a seed has the same number of facts ({span} by seed). Generic errors: "
        "wrong answers, in relations of the set, that are the set's commonest answer of the relation.",
    )


def _crossed(frame: pd.DataFrame) -> list[tuple[str, int, str]]:
    arms = frame[frame["part"] == "arms"]
    some = arms[["popularity", "relations", "answers"]].drop_duplicates()
    return [(str(p), int(r), str(a)) for p, r, a in some.itertuples(index=False)]


def _cosines(results: Results, state: str) -> StudyTable:
    columns = {**COSINES, OWN_KIND: "one kind (geometric mean)"}
    rows = []
    for group, part in _groups(results, state).items():
        turned = results.at(f"{contrasts_of(state)}/{group}/own_kind_minus_cross")
        rows.append((group, *(write_number(part.at(n), "3") for n in columns), write_number(turned, "+3")))
    return StudyTable(
        title=f"Cosine between loss gradients on disjoint batches, {STATES[state]}",
        columns=("Group", *columns.values(), "one kind − popular, unpopular"),
        rows=tuple(rows),
        note="Two batches of one kind differ by the draw of facts alone, so theirs is the highest to expect.",
    )


def _norms(results: Results, state: str) -> StudyTable:
    kinds, held = ("popular", "unpopular", "random"), results.part(state)
    rows = {group: held.part(f"norm/{group}") for group in _groups(results, state)}
    title = f"Norm of the mean gradient on a batch, {STATES[state]}"
    losses = {"loss (nats a token)": held.part("loss/all")}
    return results_table(title, "Group", rows | losses, {kind: (kind, "3") for kind in kinds})


def _groups(results: Results, state: str) -> dict[str, Results]:
    """Return the cosines of each group of parameters that the model has."""
    held = results.below(f"{state}/cosine")
    return {group: held[group] for group in (EVERYTHING, *MODULES, NORMS) if group in held}


def _accuracy(frame: pd.DataFrame, results: Results) -> StudyFigure:
    names = {ALL: "all answers", FEW: f"the {WORDS[COMMONEST]} commonest answers"}
    sets = results.below("sets")
    crossed = [each for each in _crossed(frame) if key_of(*each) in sets]

    def line(popularity: str, answers: str) -> Curve:
        counts = sorted({r for p, r, a in crossed if (p, a) == (popularity, answers)})
        parts = {str(count): sets[key_of(popularity, count, answers)] for count in counts}
        return curve(popularity, parts, "accuracy_known")

    pools = list(dict.fromkeys(popularity for popularity, _, _ in crossed))
    figure = curves(
        {name: [line(pool, answers) for pool in pools] for answers, name in names.items()},
        x="relations in the set",
        y="held-out accuracy (%)",
        percent=True,
    )
    return StudyFigure(name="accuracy", figure=figure, caption=_ACCURACY)


def _directions(results: Results, states: list[str]) -> StudyFigure:
    some = ("popular_unpopular", "random_popular", "random_unpopular", "random_random")

    def lines(state: str) -> list[Curve]:
        groups = {SHORT.get(group, group): part for group, part in _groups(results, state).items()}
        return [curve(COSINES[name], groups, name) for name in some]

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
