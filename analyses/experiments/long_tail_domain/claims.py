"""What the experiment on a domain of rare facts decides: claims worded beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.reports.pages.study import decide_claim

if TYPE_CHECKING:
    from interp.reports.pages.study import Claim


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide what the paper claims, in a domain of which it does not speak."""
    paper = "paper, claim 1; open: long tail"
    wording = (
        (
            "top_minus_bottom",
            "accuracy_known",
            "within the long-tail domain the popular half beats the unpopular half",
            paper,
        ),
        (
            "top_minus_bottom",
            "accuracy",
            "over all facts of the long-tail domain the popular half beats the unpopular half",
            paper,
        ),
        (
            "top_minus_random",
            "accuracy_known",
            "within the long-tail domain the popular half beats a random half",
            paper,
        ),
        (
            "general_top_minus_top",
            "accuracy_known",
            "popular facts of the general domain serve the domain better than the domain's own popular half",
            "open: long tail",
        ),
        (
            "mixed_minus_top",
            "accuracy_known",
            "an even mix with popular general facts serves the domain better than its own popular half alone",
            "open: long tail",
        ),
        (
            "top_minus_bottom",
            "subject_attention",
            "attention to the subject in the domain is higher after the popular half than after the "
            "unpopular one",
            "paper, claim 3; open: long tail",
        ),
        (
            "base_minus_top",
            "general_known",
            "fine-tuning on the domain's popular half loses general facts",
            "open: cost",
        ),
    )
    return tuple(
        decide_claim(
            text,
            source,
            results["contrasts"][pair][key],
            **({"digits": 3} if key == "subject_attention" else {"unit": "points"}),  # type: ignore[arg-type]
        )
        for pair, key, text, source in wording
        if pair in results["contrasts"]
    )
