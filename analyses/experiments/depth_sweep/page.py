"""Page of depth_sweep: claims, tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.reports.figures.experiments import depth_layers, depth_recovery
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


def study(frame: pd.DataFrame, results: dict[str, Any]) -> Study:
    """Say what the numbers decide, with a table and the layers as curves."""

    made, depths = claims(results), results["depths"]

    widths = dict(zip(frame["layers"].tolist(), frame["width"].tolist(), strict=True))
    rows = tuple(
        (
            int(depth),
            widths[int(depth)],
            format_entry(part["stated"], unit="%"),
            format_entry(part["gap_known"], unit="%", signed=True),
            format_entry(part["gap_attention"], digits=3, signed=True),
            format_entry(part["recovery"]["pattern_only"], unit="%"),
            format_entry(part["recovery"]["placebo"], unit="%"),
        )
        for depth, part in depths.items()
    )
    columns = ("Layers", "Width", "Base states", "Gap", "Gap in attention", "Recovered", "Placebo")
    note = "Gap: popular less unpopular half, on held-out facts that the base states; attention on all."
    return Study(
        title="Depth",
        question="Does the attention imbalance persist in depth, where, and does pattern-only recovery?",
        finding=claim_sentence(made),
        outcome=made[0].outcome,
        claims=made,
        tables=(StudyTable(title="By depth", columns=columns, rows=rows, note=note),),
        figures=(
            StudyFigure(name="layers", figure=depth_layers(results), caption=_LAYERS),
            StudyFigure(name="recovery", figure=depth_recovery(results), caption=_RECOVERY),
        ),
        notes=(_MATCHED,),
    )


def claims(results: dict[str, Any]) -> tuple[Claim, ...]:
    """Let the numbers decide, at the greatest depth, what the paper claims."""
    depth = max(results["depths"], key=int)
    deep = results["depths"][depth]
    paper = "paper, claim 3; open: depth"
    return (
        decide_claim(
            f"with {depth} layers, the popular half attends more to the subject than the unpopular half does",
            paper,
            deep["gap_attention"],
            digits=3,
        ),
        decide_claim(
            f"with {depth} layers, the popular half answers more of the facts that the base states",
            "paper, claim 1; open: depth",
            deep["gap_known"],
            unit="points",
        ),
        decide_claim(
            f"with {depth} layers, the imbalance is there in the first half of the layers",
            paper,
            deep["gap_front"],
            digits=3,
        ),
        decide_claim(
            f"with {depth} layers, the imbalance is there in the second half of the layers",
            paper,
            deep["gap_back"],
            digits=3,
        ),
        decide_claim(
            f"with {depth} layers, the popular half's attention recovers more lost facts than the placebo",
            "paper, claim 4; open: depth",
            deep["recovery"]["difference"],
            unit="points",
        ),
        decide_claim(
            "the imbalance grows with depth",
            "open: depth",
            results["contrasts"]["gap_attention"],
            digits=3,
        ),
    )


_LAYERS = (
    "How much more the last token attends to the subject after fine-tuning on the popular half than on the "
    "unpopular one, layer by layer (mean over heads and held-out facts; 95% over trainings)."
)


_RECOVERY = (
    "Of the held-out facts that the popular half answers and the unpopular one does not, how many the latter "
    "answers with the former's attention at the last token, in all layers at once."
)


_MATCHED = "Depths are matched in the parameters of their layers, so deeper models are narrower."
