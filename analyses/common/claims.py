"""What the paper claims and the project promises, each decided by numbers of a run that is no grid."""

from __future__ import annotations

from interp.reports.pages.results_tables import decide_each, decide_worded
from interp.reports.pages.study import Claim
from interp.reports.read.results import Results

AIM = {"precision": 0.9, "recall": 0.8, "false positives": 0.05}
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


def claims_on_verdicts(results: Results, alpha: float) -> tuple[Claim, ...]:
    """Let the verdicts on arms decide claim 4: chance alone would call ``alpha`` of the lost facts stored."""
    told = "of the known facts that {} lost, more are shown to be stored than the controls allow"
    return tuple(
        decide_worded(part.at("stored_of_lost"), told.format(arm), "paper, claim 4", "%", alpha)
        for arm, part in results.below("arms").items()
    )


def claims_on_planted_truth(results: Results) -> tuple[Claim, ...]:
    """Let verdicts on planted facts decide whether a verdict can be trusted as far as was aimed at."""
    source, suppressed = "aim of the verdict", "verdict/suppressed"
    made = decide_each(
        results,
        (
            (
                "of the facts called suppressed 90% are",
                source,
                f"{suppressed}/precision",
                "%",
                AIM["precision"],
            ),
            (
                "of the facts that are suppressed 80% are called so",
                source,
                f"{suppressed}/recall",
                "%",
                AIM["recall"],
            ),
        ),
    )
    rate = results.at("verdict/false_positive_rate")
    allowed = AIM["false positives"]
    turned = {"value": "value", "low": "high", "high": "low"}
    spared = {k: None if rate[end] is None else allowed - rate[end] for k, end in turned.items()}
    claim = "no more than 5% of never-stored facts show storage (points below 5)"
    return (*made, decide_worded({**spared, "n": rate["n"]}, claim, source, "points"))
