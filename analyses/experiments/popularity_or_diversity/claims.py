"""What the experiment on popularity and diversity decides: claims worded beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analyses.experiments.popularity_or_diversity.crossed_sets import COMMONEST
from interp.reports.pages.study import decide_claim

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Claim

STATES = {"gradients": "at the base", "gradients_taught": "once a random half has taught the form"}
WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
_OPEN = "open: popularity or diversity"
_RANDOM = "open: why a random half does nearly as well"


def claims(frame: pd.DataFrame, results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims and what it leaves open."""
    words, made = words_of(frame), []
    if effects := results["effects"]:
        wording = {
            "popular_minus_unpopular": (
                "popular facts help more than unpopular ones at equal relations and answers",
                "paper, claim 1",
            ),
            "many_minus_one": ("{many} help more than {one}", _OPEN),
            "all_minus_few": ("all answers help more than {few}", _OPEN),
            "popularity_exceeds_relations": (
                "popular instead of unpopular facts gain more than {many} instead of {one}",
                _OPEN,
            ),
            "popularity_exceeds_answers": (
                "popular instead of unpopular facts gain more than all answers instead of {few}",
                _OPEN,
            ),
            "relations_interaction": ("popularity matters more with {many} than with {one}", _OPEN),
            "popular_minus_random": ("popular facts help more than random ones", _RANDOM),
            "random_minus_unpopular": ("random facts help more than unpopular ones", _RANDOM),
        }
        made += [
            decide_claim(text.format_map(words), source, effects[f"known_{name}"], unit="points")
            for name, (text, source) in wording.items()
        ]
        made.append(
            decide_claim(
                "held-out facts of a relation that both train: {many} help more than {one}".format_map(words),
                _OPEN,
                effects["first_known_many_minus_one"],
                unit="points",
            )
        )
    # Cosines at the base were seen, of one seed, before the second model was measured.
    added = {"gradients": "", "gradients_taught": "; added when seed 0's gradients at the base were seen"}
    for state, where in STATES.items():
        turned = results[state.replace("gradients", "gradient_contrasts")].get("all", {})
        made += [
            decide_claim(f"{text}, {where}", source + added[state], turned[name], digits=3)
            for name, (text, source) in {
                "random_popular_minus_random_unpopular": (
                    "a random batch's gradient is closer to a popular batch's than to an unpopular batch's "
                    "(cosine)",
                    _RANDOM,
                ),
                "placebo_minus_cross": (
                    "popular and unpopular gradients point less alike than two random batches' (cosine)",
                    "theory; placebo",
                ),
                "own_kind_minus_cross": (
                    "popular and unpopular gradients point less alike than two batches' of one kind (cosine)",
                    "theory; placebo",
                ),
            }.items()
            if turned
        ]
    return tuple(made)


def words_of(frame: pd.DataFrame) -> dict[str, str]:
    """Say in words which levels are compared."""
    counts = sorted({int(count) for count in frame.get("relations", ()) if count == count})
    one, many = (counts[0], counts[-1]) if counts else (1, 1)
    names = {
        name: f"{WORDS.get(n, n)} relation{'s' if n > 1 else ''}"
        for name, n in (("one", one), ("many", many))
    }
    return {**names, "few": f"the {WORDS[COMMONEST]} commonest"}
