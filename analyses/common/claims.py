"""What the paper claims and the project promises, each decided by numbers of a run that is no grid."""

from __future__ import annotations

from interp.reports.pages.results_tables import Wording, decide_each, decide_worded
from interp.reports.pages.study import Claim
from interp.reports.read.results import Number, Results

AIM = {"recall": 0.85, "false positives": 0.05, "intact": 0.1, "recovery": 0.85}
GAP = "contrasts/top_minus_bottom"
KNOWN = "the popular half answers more of the facts that the base states than"
ON_ARMS = (
    (f"{KNOWN} the unpopular half does", "paper, claim 1", f"{GAP}/accuracy_known", "points"),
    (
        "the popular half answers more of all held-out facts than the unpopular half does",
        "paper, claim 1",
        f"{GAP}/accuracy",
        "points",
    ),
    (
        "after the popular half attention to the subject is higher than after the unpopular half",
        "paper, claim 3",
        f"{GAP}/subject_attention",
        "3",
    ),
    (f"{KNOWN} the whole set does", "paper, claim 1", "contrasts/top_minus_whole/accuracy_known", "points"),
    (f"{KNOWN} a random half does", "paper, claim 1", "contrasts/top_minus_random/accuracy_known", "points"),
    (
        "the popular half's attention recovers more of the unpopular half's losses than the placebo does",
        "paper, claim 4",
        "recovery/difference",
        "points",
    ),
)


def claims_on_arms(results: Results) -> tuple[Claim, ...]:
    """Let a main job's numbers decide claims 1, 3 and 4; none where its arms are not top and bottom."""
    return decide_each(results, [wording for wording in ON_ARMS if wording[2] in results])


def claims_on_verdicts(results: Results) -> tuple[Claim, ...]:
    """Let the verdicts on arms decide claim 4: lost facts are stated elsewhere, never-stored ones not."""
    told = "of the known facts that {} lost, a larger share is stated elsewhere than of never-stored facts"
    return tuple(
        decide_worded(part.at("stored_above_never"), told.format(arm), "paper, claim 4", "points")
        for arm, part in results.below("arms").items()
    )


def claims_on_planted_truth(results: Results) -> tuple[Claim, ...]:
    """Let verdicts on known damage decide whether a verdict can be trusted as far as was aimed at."""
    source, natural = "aim of the verdict", "cells/natural_routing_asked"
    intact = "cells/noise_values_asked/verdicts/suppressed_intact"
    steps = sorted(int(name.removeprefix("after_")) for name in results.below(f"{natural}/lesson"))
    after = f"{natural}/lesson/after_{steps[len(steps) // 2]}" if steps else f"{natural}/lesson"
    least: tuple[Wording, ...] = (
        (
            "of facts that natural damage to W_Q and W_K lost 85% are found to be stored in some degree",
            source,
            f"{natural}/called/rule_any/of_lost",
            "%",
            AIM["recall"],
        ),
        (
            "the verdict foretells which of them come back after a lesson with an AUROC of 0.85",
            source,
            f"{after}/auroc/stated",
            " 2",
            AIM["recovery"],
        ),
    )
    spared = (
        (
            "no more than 5% of never-stored facts are then held to be stored (points below 5)",
            f"{natural}/called/rule_any/of_never",
            "false positives",
        ),
        (
            "no more than 10% of facts lost to noise in W_V, W_O and MLP are called intact (points below 10)",
            intact,
            "intact",
        ),
    )
    return (
        *decide_each(results, least),
        *(_spared(results.at(place), claim, source, AIM[aim]) for claim, place, aim in spared),
    )


def _spared(rate: Number, claim: str, source: str, allowed: float) -> Claim:
    """Decide that a rate lies below what is allowed, in points below it."""
    turned = {"value": "value", "low": "high", "high": "low"}
    below = {k: None if rate[end] is None else allowed - rate[end] for k, end in turned.items()}
    return decide_worded({**below, "n": rate["n"]}, claim, source, "points")
