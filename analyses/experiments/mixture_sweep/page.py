"""Page of mixture_sweep: claims, tables and figures."""

from __future__ import annotations

import pandas as pd

from analyses.experiments.mixture_sweep.cells import FIRST, LAST
from analyses.experiments.mixture_sweep.numbers import TESTS
from interp.reports.figures.experiments import mixture_curves
from interp.reports.pages.results_tables import decide_each, decided_study, results_table
from interp.reports.pages.study import Claim, Study, StudyFigure
from interp.reports.read.results import Results


def study(frame: pd.DataFrame, results: Results) -> Study:
    """Say what the numbers decide, with a table and the curves."""
    keys = {"known": "accuracy_known", "all": "accuracy"}
    table = results_table(
        "Accuracy on held-out facts by mixture, %",
        "Popular facts",
        {f"{100 * float(share):.0f}%": part for share, part in results.below("shares").items()},
        {f"{test}, {known}": (f"{test}/{key}", "%") for test in TESTS for known, key in keys.items()},
    )
    caption = "Held-out accuracy by the share of popular facts in a fine-tuning set of one size."
    return decided_study(
        title="Mixture ratio",
        question="How many popular facts should a fine-tuning set hold, and in which order?",
        claims=claims(results),
        tables=(table,),
        figures=(StudyFigure(name="mixture", figure=mixture_curves(results.tree()), caption=caption),),
        notes=(
            "The mixture that is compared with popular facts alone was chosen, for each seed, on the other "
            "seeds.",
        ),
    )


def claims(results: Results) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims and what it leaves open."""
    paper = [
        (
            f"popular facts alone serve {test} held-out facts{known} better than unpopular ones alone do",
            "paper, claim 1",
            f"contrasts/all_minus_none_{test}{key}",
            "points",
        )
        for key, known in (("", " that the base states"), ("_all", ", all of them,"))
        for test in reversed(TESTS)
    ]
    mixed = [
        (
            f"for {test} held-out facts some mixture beats popular facts alone",
            "open: mixture ratio",
            f"gain/{test}",
            "points",
        )
        for test in TESTS
    ]
    ordered = [
        (
            f"on the even mix, {order} serves {test} held-out facts better than shuffled",
            "open: order",
            f"contrasts/{order.replace(' ', '_')}_minus_shuffled_{test}",
            "points",
        )
        for order in (FIRST, LAST)
        for test in TESTS
    ]
    return decide_each(results, (*paper, *mixed, *ordered))
