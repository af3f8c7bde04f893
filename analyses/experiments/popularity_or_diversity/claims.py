"""What the experiment on popularity and diversity decides: claims worded beforehand."""

from __future__ import annotations

import pandas as pd

from analyses.experiments.popularity_or_diversity.crossed_sets import COMMONEST
from interp.reports.pages.results_tables import decide_each
from interp.reports.pages.study import Claim
from interp.reports.read.results import Results

STATES = {"gradients": "at the base", "gradients_taught": "once a random half has taught the form"}
# Cosines at the base were seen, of one seed, before the second model was measured.
ADDED = {"gradients": "", "gradients_taught": "; added when seed 0's gradients at the base were seen"}
WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
_PAPER, _OPEN = "paper, claim 1", "open: popularity or diversity"
_RANDOM, _PLACEBO = "open: why a random half does nearly as well", "theory; placebo"
_EFFECTS = (
    (
        "popular facts help more than unpopular ones at equal relations and answers",
        _PAPER,
        "known_popular_minus_unpopular",
    ),
    ("{many} help more than {one}", _OPEN, "known_many_minus_one"),
    ("all answers help more than {few}", _OPEN, "known_all_minus_few"),
    (
        "popular instead of unpopular facts gain more than {many} instead of {one}",
        _OPEN,
        "known_popularity_exceeds_relations",
    ),
    (
        "popular instead of unpopular facts gain more than all answers instead of {few}",
        _OPEN,
        "known_popularity_exceeds_answers",
    ),
    ("popularity matters more with {many} than with {one}", _OPEN, "known_relations_interaction"),
    ("popular facts help more than random ones", _RANDOM, "known_popular_minus_random"),
    ("random facts help more than unpopular ones", _RANDOM, "known_random_minus_unpopular"),
    (
        "held-out facts of a relation that both train: {many} help more than {one}",
        _OPEN,
        "first_known_many_minus_one",
    ),
)
_COSINES = (
    (
        "a random batch's gradient is closer to a popular batch's than to an unpopular batch's (cosine)",
        _RANDOM,
        "random_popular_minus_random_unpopular",
    ),
    (
        "popular and unpopular gradients point less alike than two random batches' (cosine)",
        _PLACEBO,
        "placebo_minus_cross",
    ),
    (
        "popular and unpopular gradients point less alike than two batches' of one kind (cosine)",
        _PLACEBO,
        "own_kind_minus_cross",
    ),
)


def claims(frame: pd.DataFrame, results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims and what it leaves open."""
    words, made = words_of(frame), []
    if results.below("effects"):
        made += [(text.format_map(words), source, f"effects/{n}", "points") for text, source, n in _EFFECTS]
    for state, where in STATES.items():
        turned = f"{contrasts_of(state)}/all"
        if results.below(turned):
            made += [
                (f"{text}, {where}", source + ADDED[state], f"{turned}/{name}", "3")
                for text, source, name in _COSINES
            ]
    return decide_each(results, made)


def contrasts_of(state: str) -> str:
    """Name the contrasts of a state's gradients in the results."""
    return state.replace("gradients", "gradient_contrasts")


def words_of(frame: pd.DataFrame) -> dict[str, str]:
    """Say in words which levels are compared."""
    counts = sorted({int(count) for count in frame.get("relations", ()) if count == count})
    one, many = (counts[0], counts[-1]) if counts else (1, 1)
    names = {
        name: f"{WORDS.get(n, n)} relation{'s' if n > 1 else ''}"
        for name, n in (("one", one), ("many", many))
    }
    return {**names, "few": f"the {WORDS[COMMONEST]} commonest"}
