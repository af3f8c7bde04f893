"""Page of mixture_sweep: claims, tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.reports.figures.experiments import mixture_curves
from interp.reports.pages.study import (
    Study,
    StudyFigure,
    StudyTable,
    claim_sentence,
    decide_claim,
    format_entry,
)

if TYPE_CHECKING:
    import pandas as pd

    from interp.reports.pages.study import Claim
from analyses.experiments.mixture_sweep.cells import FIRST, LAST
from analyses.experiments.mixture_sweep.numbers import TESTS


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with a table and the curves."""

    made, shares = claims(results), results["shares"]

    keys = ("accuracy_known", "accuracy")
    table = StudyTable(
        title="Accuracy on held-out facts by mixture, %",
        columns=("Popular facts", *(f"{test}, {known}" for test in TESTS for known in ("known", "all"))),
        rows=tuple(
            (
                f"{100 * float(share):.0f}%",
                *(format_entry(part[t][k], unit="%") for t in TESTS for k in keys),
            )
            for share, part in shares.items()
        ),
    )
    return Study(
        title="Mixture ratio",
        question="How many popular facts should a fine-tuning set hold, and in which order?",
        finding=claim_sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(table,),
        figures=(StudyFigure(name="mixture", figure=mixture_curves(results), caption=_CAPTION),),
        notes=(_CHOSEN,),
    )


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims and what it leaves open."""
    contrasts = results["contrasts"]
    paper = [
        decide_claim(
            f"popular facts alone serve {test} held-out facts{known} better than unpopular ones alone do",
            "paper, claim 1",
            contrasts[f"all_minus_none_{test}{key}"],
            unit="points",
        )
        for key, known in (("", " that the base states"), ("_all", ", all of them,"))
        for test in reversed(TESTS)
    ]
    mixed = [
        decide_claim(
            f"for {test} held-out facts some mixture beats popular facts alone",
            "open: mixture ratio",
            results["gain"][test],
            unit="points",
        )
        for test in TESTS
    ]
    ordered = [
        decide_claim(
            f"on the even mix, {order} serves {test} held-out facts better than shuffled",
            "open: order",
            contrasts[f"{order.replace(' ', '_')}_minus_shuffled_{test}"],
            unit="points",
        )
        for order in (FIRST, LAST)
        for test in TESTS
    ]
    return (*paper, *mixed, *ordered)


_CAPTION = "Held-out accuracy by the share of popular facts in a fine-tuning set of one size."


_CHOSEN = (
    "The mixture that is compared with popular facts alone was chosen, for each seed, on the other seeds."
)
