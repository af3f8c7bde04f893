"""What the paper claims and the project promises, each decided by numbers of a run that is no experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from interp.reports.pages.study import Claim, decide_claim

AIM = {"precision": 0.9, "recall": 0.8, "false positives": 0.05}


def claims_on_arms(results: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Let a main job's numbers decide claims 1, 3 and 4; none where its arms are not top and bottom."""
    return tuple(_of_arms(results))


def _of_arms(results: Mapping[str, Any]) -> Iterator[Claim]:
    contrasts, recovery = results["contrasts"], results["recovery"]
    if "top_minus_bottom" in contrasts:
        gap = contrasts["top_minus_bottom"]
        yield decide_claim(
            "the popular half answers more of the facts that the base states than the unpopular half does",
            "paper, claim 1",
            gap["accuracy_known"],
            unit="points",
        )
        yield decide_claim(
            "the popular half answers more of all held-out facts than the unpopular half does",
            "paper, claim 1",
            gap["accuracy"],
            unit="points",
        )
        yield decide_claim(
            "after the popular half attention to the subject is higher than after the unpopular half",
            "paper, claim 3",
            gap["subject_attention"],
            digits=3,
        )
    for other, claim in (("whole", "the whole set"), ("random", "a random half")):
        if (name := f"top_minus_{other}") in contrasts:
            yield decide_claim(
                f"the popular half answers more of the facts that the base states than {claim} does",
                "paper, claim 1",
                contrasts[name]["accuracy_known"],
                unit="points",
            )
    if "difference" in recovery:
        yield decide_claim(
            "the popular half's attention recovers more of the unpopular half's losses than the placebo does",
            "paper, claim 4",
            recovery["difference"],
            unit="points",
        )


def claims_on_verdicts(results: Mapping[str, Any], alpha: float) -> tuple[Claim, ...]:
    """Let the verdicts on arms decide claim 4: chance alone would call ``alpha`` of the lost facts stored."""
    return tuple(
        decide_claim(
            f"of the known facts that {arm} lost, more are shown to be stored than the controls allow",
            "paper, claim 4",
            part["suppressed_of_lost"],
            above=alpha,
            unit="%",
        )
        for arm, part in results["arms"].items()
    )


def claims_on_planted_truth(results: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Let verdicts on planted facts decide whether a verdict can be trusted as far as was aimed at."""
    verdict = results["verdict"]
    found = {
        "precision": ("of the facts called suppressed 90% are", verdict["suppressed"]["precision"]),
        "recall": ("of the facts that are suppressed 80% are called so", verdict["suppressed"]["recall"]),
    }
    made = [
        decide_claim(claim, "aim of the verdict", number, above=AIM[name], unit="%")
        for name, (claim, number) in found.items()
    ]
    rate = verdict["false_positive_rate"]
    allowed = AIM["false positives"]
    turned = {"value": "value", "low": "high", "high": "low"}
    spared = {k: None if rate[end] is None else allowed - rate[end] for k, end in turned.items()}
    claim = "no more than 5% of never-stored facts show storage (points below 5)"
    return (*made, decide_claim(claim, "aim of the verdict", {**spared, "n": rate["n"]}, unit="points"))
